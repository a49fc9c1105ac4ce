"""Tool calls as series, beside the same calls counted by prometheus-client's own counters and histograms."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.events import CallFinished
from proxy.telemetry.redact import Redactor
from proxy.telemetry.tallies import BUCKETS, SIZES, Tallies

Found = dict[tuple[str, frozenset[tuple[str, str]]], float]

calls = st.lists(
    st.builds(
        CallFinished,
        client=st.just("c"),
        session=st.just("s"),
        request_id=st.just("1"),
        server=st.sampled_from(["git", "a secret", "4711-word"]),
        tool=st.sampled_from(["status", "log", "4711-word", "***"]),
        outcome=st.sampled_from(["ok", "tool_error", "error", "timeout", "cancelled"]),
        # On the bounds, which belong to the buckets below them, and in multiples that floats add up without loss.
        seconds=st.sampled_from(BUCKETS) | st.integers(0, 1 << 20).map(lambda n: n / 1024),
        bytes_in=st.just(1),
        bytes_out=st.sampled_from(SIZES) | st.integers(0, 1 << 27),
    ),
    max_size=12,
)


def found(registry: CollectorRegistry) -> Found:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def the_librarys(events: list[CallFinished], redact: Redactor) -> Found:
    registry = CollectorRegistry()
    ended = Counter("mcp_manifold_calls", "-", ["server", "tool", "outcome"], registry=registry)
    tokens = Counter("mcp_manifold_result_tokens", "-", ["server", "tool"], registry=registry)
    seconds = Histogram(
        "mcp_manifold_call_duration_seconds", "-", ["server", "tool"], buckets=BUCKETS, registry=registry
    )
    sizes = Histogram("mcp_manifold_result_size_bytes", "-", ["server"], buckets=SIZES, registry=registry)
    for event in events:
        labels = redact(event.server), redact(event.tool)
        ended.labels(*labels, event.outcome).inc()
        seconds.labels(*labels).observe(event.seconds)
        if event.outcome in ("ok", "tool_error"):
            tokens.labels(*labels).inc(event.bytes_out / 4)
            sizes.labels(labels[0]).observe(event.bytes_out)
    return found(registry)


@given(st.lists(calls, max_size=6))
def test_the_series_are_those_that_the_librarys_own_counters_would_have(turns: list[list[CallFinished]]) -> None:
    redact = Redactor(["4711-word"])
    tallies, registry = Tallies(redact), CollectorRegistry()
    registry.register(tallies)
    for ended_together in turns:
        tallies.count(ended_together)
    ours, theirs = found(registry), the_librarys([call for turn in turns for call in turn], redact)
    sums = {key for key in theirs if key[0].endswith("_sum")}
    assert ours.keys() == theirs.keys()
    assert {key: ours[key] for key in ours.keys() - sums} == {key: theirs[key] for key in theirs.keys() - sums}
    assert all(abs(ours[key] - theirs[key]) <= 1e-9 * theirs[key] for key in sums)  # added up in another order
