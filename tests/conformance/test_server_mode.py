"""The official conformance suite, as it tests a server: the SDK's own directly, and the same through the proxy."""

import pytest

from tests.conformance.suite import Runs, revision_of

pytestmark = pytest.mark.conformance

# All that the suite has for a server of these revisions, by the revision that brought it.
SCENARIOS = {
    "2025-03-26": ["server-session-lifecycle"],
    "2025-06-18": [
        "server-initialize",
        "logging-set-level",
        "ping",
        "completion-complete",
        "tools-list",
        "tools-call-simple-text",
        "tools-call-image",
        "tools-call-audio",
        "tools-call-embedded-resource",
        "tools-call-mixed-content",
        "tools-call-with-logging",
        "tools-call-error",
        "tools-call-with-progress",
        "tools-call-sampling",
        "tools-call-elicitation",
        "resources-list",
        "resources-read-text",
        "resources-read-binary",
        "resources-templates-read",
        "resources-subscribe",
        "resources-unsubscribe",
        "prompts-list",
        "prompts-get-simple",
        "prompts-get-with-args",
        "prompts-get-embedded-resource",
        "prompts-get-with-image",
    ],
    "2025-11-25": [
        "json-schema-2020-12",
        "elicitation-sep1034-defaults",
        "server-sse-polling",
        "server-sse-multiple-streams",
        "elicitation-sep1330-enums",
        "dns-rebinding-protection",
    ],
}

# What a server says about its HTTP stream cannot be said over stdio, nor by a proxy on behalf of its server.
NOT_OURS = {"server-sse-disconnect-resume"}


# Where an answer is there at once, our own way in sends it as JSON, which the suite takes, too.
NOT_OF_THE_HUB = {"server-sse-streams-functional"}

# The proxy over HTTP, where that is another matter: the server says something unasked, or keeps a session. Each is run
# by itself, since a proxy that speaks HTTP takes a second to start.
OVER_HTTP = [
    "logging-set-level",
    "tools-call-with-logging",
    "tools-call-with-progress",
    "tools-call-sampling",
    "tools-call-elicitation",
    "elicitation-sep1034-defaults",
    "resources-subscribe",
    "server-sse-polling",
]

# The server itself; the proxy before it over stdio, without a prefix and with one that the bridge takes off; the hub
# of many clients, which speaks HTTP by itself; and the server behind the proxy over HTTP.
RUNS = [
    *(("direct", revision) for revision in SCENARIOS),
    *(("bare", revision) for revision in SCENARIOS),
    ("prefixed", "2025-11-25"),
    *(("hub", revision) for revision in SCENARIOS),
    *(("http", scenario) for scenario in OVER_HTTP),
]


def scenarios(what: str) -> list[str]:
    """Those of a revision; any other word is one itself."""
    if what not in SCENARIOS:
        return [what]
    return [scenario for since, names in SCENARIOS.items() if since <= what for scenario in names]


CASES = [(side, what, scenario) for side, what in RUNS for scenario in scenarios(what)]


@pytest.mark.parametrize(("side", "what"), RUNS)
def test_a_run_succeeds_and_has_every_scenario(side: str, what: str, server_runs: Runs) -> None:
    outcome = server_runs(side, what)
    assert set(outcome.scenarios) == set(scenarios(what)), outcome.output
    assert outcome.exit_code == 0, outcome.output


@pytest.mark.parametrize(("side", "what", "scenario"), CASES)
def test_a_scenario_passes(side: str, what: str, scenario: str, server_runs: Runs) -> None:
    """No failure and no warning, and each check that the server passes when asked directly."""
    outcome = server_runs(side, what)
    failures = outcome.failures(scenario)
    assert not failures, "\n".join(map(str, failures))
    passed = outcome.passed(scenario)
    assert passed, f"nothing was checked\n{outcome.output}"
    missing = server_runs("direct", revision_of(what)).passed(scenario) - passed
    allowed = {"direct": set[str](), "hub": NOT_OURS | NOT_OF_THE_HUB}.get(side, NOT_OURS)
    assert missing <= allowed, f"these checks never ran: {missing}\n{outcome.output}"


@pytest.mark.parametrize(("side", "what", "total"), [("direct", "2025-11-25", 84)])
def test_the_server_passes_as_many_checks_as_ever(side: str, what: str, total: int, server_runs: Runs) -> None:
    """So that a change of the suite or of the server is seen as one."""
    assert f"Total: {total} passed, 0 failed" in server_runs(side, what).output
