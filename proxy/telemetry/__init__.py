"""Observers of events: each is a callable that takes one fact; the core emits facts and never imports this package.

    sink.py      where log lines go: stderr or a file, without ever making the proxy wait
    redact.py    what no telemetry may show: configured secrets, control characters
    logs.py      events -> one log line each
    bridge.py    the standard library's logging and warnings -> the same log
    metrics.py   events -> Prometheus series; pulled.py the ones that others keep, loop.py how late the loop is
    outlets.py   the ways that these go out: endpoint.py a port, discovery.py a file that names it, textfile.py a file
                 for node_exporter, otlp.py a push to a collector; published.py files that go with their process
    traces.py    events -> spans at a collector, sent by a thread, which alone uses spans.py and collector.py

Importing structlog and prometheus-client costs about 0.1 s together. So `logs` and `metrics` are imported after the
servers were started; `sink` and `redact` are cheap. Events from before are replayed: an observer takes the time of the
event, in Unix seconds, as `at`.
"""
