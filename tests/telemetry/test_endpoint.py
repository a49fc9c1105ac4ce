"""Scraping over real HTTP."""

import contextlib
import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from proxy.config.models import MetricsSettings
from proxy.events import CallFinished, Event, Notice
from proxy.telemetry.endpoint import MOST, MetricsServer, serve
from proxy.telemetry.metrics import Metrics

ANY_PORT = MetricsSettings(enabled=True, port=0)


class Notices(list[Notice]):
    def __call__(self, event: Event) -> None:
        assert isinstance(event, Notice)
        self.append(event)


def get(server: MetricsServer, path: str = "/metrics", host: str = "127.0.0.1") -> str:
    with urllib.request.urlopen(f"http://{host}:{server.port}{path}", timeout=30) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        return str(response.read().decode())


def test_a_scrape_gives_the_series_as_they_are_now() -> None:
    metrics = Metrics()
    with serve(ANY_PORT, metrics.registry, Notices()) as server:
        get(server)
        metrics(CallFinished("client", "session", "1", "git", "status", "ok", 0.1, 1, 2))
        samples = [
            sample
            for family in text_string_to_metric_families(get(server))
            for sample in family.samples
            if sample.name == "mcp_manifold_calls_total"
        ]
    assert [(sample.labels, sample.value) for sample in samples] == [
        ({"server": "git", "tool": "status", "outcome": "ok"}, 1.0)
    ]


def test_a_notice_says_which_port_was_free() -> None:
    notices = Notices()
    with serve(ANY_PORT, CollectorRegistry(), notices) as server:
        assert [(notice.level, notice.text) for notice in notices] == [
            ("info", f"metrics on http://127.0.0.1:{server.port}/metrics")
        ]


def test_a_port_in_use_is_a_warning_and_no_more() -> None:
    notices = Notices()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serve(MetricsSettings(port=port), CollectorRegistry(), notices) as server:
            assert server.port is None
    assert [notice.level for notice in notices] == ["warning"]
    assert "with `metrics.discovery` each process takes a port of its own" in notices[0].text
    assert str(port) in notices[0].text


def test_a_port_in_use_is_no_matter_where_prometheus_is_told_of_another() -> None:
    notices = Notices()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serve(MetricsSettings(port=port, discovery=True), CollectorRegistry(), notices) as server:
            assert server.port not in (None, port)
            assert server.address == f"http://127.0.0.1:{server.port}"
    assert [notice.level for notice in notices] == ["info"]


def test_the_address_of_every_interface_is_told_as_one_that_can_be_asked() -> None:
    with serve(MetricsSettings(host="0.0.0.0", port=0), CollectorRegistry(), Notices()) as server:
        assert server.address == f"http://127.0.0.1:{server.port}"


def test_a_host_that_does_not_exist_is_a_warning_and_no_more() -> None:
    notices = Notices()
    serve(MetricsSettings(host="256.256.256.256", port=0), CollectorRegistry(), notices).close()
    assert [notice.level for notice in notices] == ["warning"]


def test_an_address_that_others_can_reach_is_warned_of() -> None:
    notices = Notices()
    with serve(MetricsSettings(host="0.0.0.0", port=0), CollectorRegistry(), notices) as server:
        get(server)
    assert [notice.level for notice in notices] == ["info", "warning"]
    assert "no authentication" in notices[1].text


def test_closing_frees_the_port_although_somebody_is_connected() -> None:
    server = serve(ANY_PORT, CollectorRegistry(), Notices())
    assert server.port is not None
    with socket.create_connection(("127.0.0.1", server.port), timeout=30):
        server.close()
    server.close()
    with socket.create_server(("127.0.0.1", server.port)):
        pass


def test_a_connection_that_says_nothing_keeps_nobody_waiting() -> None:
    with (
        serve(ANY_PORT, CollectorRegistry(), Notices()) as server,
        socket.create_connection(("127.0.0.1", server.port or 0), timeout=30),
    ):
        get(server)


def test_a_series_that_cannot_be_written_answers_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Collector):
        def describe(self) -> Iterator[Metric]:
            return iter(())

        def collect(self) -> Iterator[Metric]:
            raise ValueError("broken source")

    registry = CollectorRegistry()
    registry.register(Broken())
    with serve(ANY_PORT, registry, Notices()) as server, pytest.raises(urllib.error.HTTPError) as caught:
        get(server)
    with caught.value:
        assert caught.value.code == 500
    assert "broken source" in caplog.text


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with serve(ANY_PORT, CollectorRegistry(), Notices()) as server:
        get(server)
        with socket.create_connection(("127.0.0.1", server.port or 0), timeout=30) as rude:
            rude.sendall(b"nonsense\r\n\r\n")
            rude.recv(1000)
    assert capfd.readouterr() == ("", "")


def test_connections_without_number_keep_no_scraper_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.telemetry.endpoint.PATIENCE", 3600)
    with serve(ANY_PORT, CollectorRegistry(), Notices()) as server, contextlib.ExitStack() as opened:
        address = ("127.0.0.1", server.port or 0)
        rude = [opened.enter_context(socket.create_connection(address, timeout=5)) for _ in range(2 * MOST)]
        get(server)
        for connection in rude[:MOST]:
            assert connection.recv(1) == b"", "its place was taken"


def test_a_request_that_does_not_end_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.telemetry.endpoint.PATIENCE", 0.01)
    with (
        serve(ANY_PORT, CollectorRegistry(), Notices()) as server,
        socket.create_connection(("127.0.0.1", server.port or 0), timeout=5) as slow,
    ):
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: local")
        with contextlib.suppress(ConnectionResetError):  # what it said may not even have been read
            assert slow.recv(1) == b""


def status(server: MetricsServer, host: str) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("GET", "/metrics", headers={"Host": host})
        return connection.getresponse().status


@pytest.mark.parametrize("host", ["evil.example:9464", "127.0.0.1.evil.example", "[::1", "localhost.evil.example"])
def test_a_page_of_the_web_reads_nothing_by_a_name_that_leads_to_loopback(host: str) -> None:
    with serve(ANY_PORT, CollectorRegistry(), Notices()) as server:
        assert status(server, host) == 421


@pytest.mark.parametrize("host", ["localhost:9464", "LOCALHOST", "[::1]:80", "10.0.0.1:9464", "", "metrics.test:1"])
def test_who_asks_by_address_or_by_the_name_of_the_configuration_is_answered(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = socket.getaddrinfo

    def look_up(host: str, *args: Any, **kwargs: Any) -> Any:
        return known("127.0.0.1" if host == "Metrics.test" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with serve(MetricsSettings(host="Metrics.test", port=0), CollectorRegistry(), Notices()) as server:
        assert status(server, host) == 200
