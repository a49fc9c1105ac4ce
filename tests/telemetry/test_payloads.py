"""What is noted of the payload of a call."""

from hashlib import sha256
from pathlib import Path

import pytest

from proxy.config.models import AuditSettings, LogLevel, LogSettings, Payloads, ProxySettings
from proxy.events import Inspector, Noted
from proxy.telemetry.payloads import MOST_NAMES, Digests, Sizes, inspector
from proxy.telemetry.redact import Redactor

ARGUMENTS = b'{"path": "/tmp/x", "password":"hunter2","n":1}'
RESULT = b'{"content":[{"type":"text","text":"it is /tmp/x"}]}'
HASH = sha256(ARGUMENTS).hexdigest()


def noted(
    payloads: Payloads = False, *, audit: bool = False, level: LogLevel = "info", **levels: LogLevel
) -> Noted | None:
    """What this configuration notes of a call; `levels` are those of servers."""
    log = LogSettings(level=level, payloads=payloads, levels=levels)
    settings = ProxySettings(log=log, audit=AuditSettings(file=Path("a") if audit else None))
    found = inspector(settings, Redactor(["/tmp/x"]))  # noqa: S108 (a text)
    if found is None:
        return None
    seen = found.arguments(ARGUMENTS)
    return found.answer(seen, RESULT) if found.sees_answers else seen


def test_nobody_looks_at_payloads_unless_the_configuration_asks_for_it() -> None:
    assert noted() is None


def test_the_audit_gets_a_hash_of_the_bytes_and_nothing_else() -> None:
    assert noted(audit=True) == Noted(HASH)
    assert Digests().arguments(b'{"a":1}') != Digests().arguments(b'{"a": 1}')


def test_names_come_with_the_bytes_of_their_values() -> None:
    assert noted("names") == Noted(sizes={"path": 8, "password": 9, "n": 1})


def test_redacted_payloads_are_texts_without_secrets() -> None:
    assert noted("redacted") == Noted(arguments='{"path":"***","password":"***","n":1}', result="it is ***")


def test_a_log_that_has_no_calls_needs_nothing_of_them() -> None:
    assert noted("redacted", level="warning") is None
    assert noted("names", level="warning", git="info") == noted("names"), "it has those of one server"


def test_log_and_audit_get_each_its_own() -> None:
    both = noted("names", audit=True)
    assert both == Noted(HASH, {"path": 8, "password": 9, "n": 1})
    assert noted("redacted", audit=True) == Noted(HASH, None, '{"path":"***","password":"***","n":1}', "it is ***")


@pytest.mark.parametrize("kind", [Digests(), Sizes()])
def test_a_call_without_arguments_leaves_nothing_to_note(kind: Inspector) -> None:
    assert not kind.arguments(b"").digest
    assert not kind.arguments(b"").sizes


def test_arguments_that_are_no_object_are_the_servers_business() -> None:
    assert Sizes().arguments(b"[1,2]") == Noted()


def test_very_many_and_very_long_names_are_cut() -> None:
    raw = b"{%b}" % b",".join(b'"%d%b":1' % (number, b"x" * 1000) for number in range(1000))
    sizes = Sizes().arguments(raw).sizes
    assert sizes is not None
    assert len(sizes) == MOST_NAMES
    assert max(map(len, sizes)) == 100
