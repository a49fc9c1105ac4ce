"""Times in the log."""

from proxy.telemetry.timestamp import timestamp


def test_a_time_is_utc_with_milliseconds() -> None:
    assert timestamp(1767323045.6789) == "2026-01-02T03:04:05.678Z"
    assert timestamp(1767323045.0) == "2026-01-02T03:04:05.000Z"
    assert timestamp(1767323046.999) == "2026-01-02T03:04:06.999Z"
