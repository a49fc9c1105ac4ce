"""A client that can do whatever servers may ask of one, each time in the same way."""

from typing import Any

from tests.support.client import RawClient
from tests.support.message import Message

ABLE: dict[str, Any] = {
    "roots": {"listChanged": True},
    "sampling": {},
    "elicitation": {"form": {}, "url": {}},
    "tasks": {"requests": {"sampling": {"createMessage": {}}, "elicitation": {"create": {}}}},
}
FORM = {"action": "accept", "content": {"name": 'Ada "ä"', "integer": 42, "number": 1.5, "check": False}}
ROOTS = [{"uri": "file:///home/ada", "name": "home"}, {"uri": "file:///srv"}]
TIME = "2026-01-02T03:04:05Z"


def introduce(client: RawClient) -> None:
    """Its answers, and its handshake."""
    worker = _Worker()
    client.will_answer("roots/list", {"roots": ROOTS})
    client.will_answer("sampling/createMessage", lambda question: worker.take(question, sampled(question)))
    client.will_answer("elicitation/create", lambda question: worker.take(question, FORM))
    client.will_answer("tasks/get", worker.look)
    client.will_answer("tasks/result", worker.result)
    client.initialize(capabilities=ABLE)


def sampled(question: Message) -> dict[str, Any]:
    """What the client's model says to the text that it is given."""
    [said] = question.params["messages"]
    text = f"you said: {said['content']['text']}"
    return {"role": "assistant", "content": {"type": "text", "text": text}, "model": "a model", "stopReason": "endTurn"}


class _Worker:
    """Works on questions as tasks, where they allow it; each is done at the first look."""

    def __init__(self) -> None:
        self._results: dict[str, Any] = {}

    def take(self, question: Message, result: Any) -> Any:
        if "task" not in question.params:
            return result
        id = f"client-task-{len(self._results) + 1}"
        self._results[id] = result
        return {"task": _told(id, "working")}

    def look(self, question: Message) -> dict[str, Any]:
        return _told(question.params["taskId"], "completed")

    def result(self, question: Message) -> Any:
        return self._results[question.params["taskId"]]


def _told(id: str, status: str) -> dict[str, Any]:
    return {
        "taskId": id,
        "status": status,
        "statusMessage": f"now {status}",
        "ttl": 60000,
        "createdAt": TIME,
        "lastUpdatedAt": TIME,
    }
