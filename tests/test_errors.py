"""What a client is told of an error that was made here, and what a user is told of a configuration."""

import json

import pytest

from proxy import errors
from proxy.errors import (
    ConfigError,
    Hopeless,
    InvalidMessage,
    ManifoldError,
    ParseError,
    ServerError,
    WireError,
    refusal,
)


def test_a_refusal_tells_itself_apart_from_an_error_passed_through() -> None:
    assert json.loads(refusal(-32602, "no such tool")) == {
        "code": -32602,
        "message": "no such tool",
        "data": {"origin": "mcp-manifold", "delivered": "no"},
    }


def test_a_refusal_names_the_server_and_says_whether_and_when_to_try_again() -> None:
    data = json.loads(refusal(-32000, "down", server="git", delivered="maybe", retry_after_ms=1500))["data"]
    assert data == {"origin": "mcp-manifold", "server": "git", "delivered": "maybe", "retryAfterMs": 1500}


def test_a_wait_of_nothing_is_still_said() -> None:
    assert json.loads(refusal(-32000, "down", retry_after_ms=0))["data"]["retryAfterMs"] == 0


def test_the_words_of_a_server_end_the_reason() -> None:
    problem = ServerError("git", "it exited with code 1", "no licence")
    assert problem.reason == "it exited with code 1; its last words: no licence"
    assert str(problem) == f"server 'git': {problem.reason}"
    assert problem.words == "no licence"


@pytest.mark.parametrize("message", ["", 'quotes " and \\', "line\nbreak\x1b", "größe 😀"])
def test_a_refusal_is_json_on_one_line_whatever_it_says(message: str) -> None:
    raw = refusal(-32603, message)
    assert b"\n" not in raw
    assert json.loads(raw)["message"] == message


def test_every_error_of_ours_can_be_caught_as_one() -> None:
    raised = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert len(raised) > 5
    assert all(issubclass(one, ManifoldError) for one in raised)


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    """Each class stands below its parent, indented by three more."""
    assert errors.__doc__ is not None
    stack: list[tuple[int, str]] = []
    drawn: dict[str, str] = {}
    for line in errors.__doc__.splitlines():
        name = next((word for word in line.replace("|-", "").replace("`-", "").split() if word[0].isupper()), "")
        found = getattr(errors, name, None)
        if isinstance(found, type):
            indent = line.index(name)
            stack = [one for one in stack if one[0] < indent]
            drawn[name] = stack[-1][1] if stack else "Exception"
            stack.append((indent, name))
    written = {one.__name__: one.__bases__[0].__name__ for one in vars(errors).values() if isinstance(one, type)}
    assert drawn == {name: base for name, base in written.items() if issubclass(getattr(errors, name), ManifoldError)}


def test_a_bad_line_has_the_code_of_its_kind_and_the_id_where_it_is_known() -> None:
    assert (ParseError("x").code, InvalidMessage("x").code, WireError("x").code) == (-32700, -32600, -32600)
    assert ParseError("x", b"7").id == b"7"
    assert InvalidMessage("x").id is None


def test_a_servers_error_names_it_in_its_text_and_not_in_its_reason() -> None:
    problem = Hopeless("git", "no such command")
    assert isinstance(problem, ServerError)
    assert (problem.server, problem.reason) == ("git", "no such command")
    assert str(problem) == "server 'git': no such command"


def test_a_bad_configuration_has_one_line_for_each_problem() -> None:
    problem = ConfigError(("a.json: x", "a.json: y"))
    assert problem.problems == ("a.json: x", "a.json: y")
    assert str(problem).splitlines() == ["a.json: x", "a.json: y"]
