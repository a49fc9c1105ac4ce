"""A server that works on calls of its tool `work` as tasks, whose ids are the same for each such server.

A task goes on until the tool `finish` ends it, whose argument `task` is its number, or until it is cancelled. Its
result says the first argument.
"""

import json
import sys
from typing import Any

RELATED = "io.modelcontextprotocol/related-task"
TIME = "2026-01-02T03:04:05Z"


class Task:
    def __init__(self, number: int) -> None:
        self.id = f"task-{number}"
        self.status = "working"
        self.waiting: list[object] = []
        """Ids of the requests for its result."""

    def told(self) -> dict[str, Any]:
        times = {"createdAt": TIME, "lastUpdatedAt": TIME}
        return {"taskId": self.id, "status": self.status, "statusMessage": NAME, "ttl": 60000, **times}

    def end(self, status: str) -> None:
        self.status = status
        say({"method": "notifications/tasks/status", "params": self.told()})
        for id in self.waiting:
            self.give(id)

    def give(self, id: object) -> None:
        if self.status == "working":
            self.waiting.append(id)
        elif self.status == "cancelled":
            say({"id": id, "error": {"code": -32000, "message": f"{NAME} was told to stop"}})
        else:
            text = [{"type": "text", "text": f"{NAME} is through"}]
            say({"id": id, "result": {"content": text, "_meta": {RELATED: {"taskId": self.id}}}})


NAME = sys.argv[1] if len(sys.argv) > 1 else "it"
TASKS: dict[str, Task] = {}
TOOLS = [
    {"name": "work", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}},
    {"name": "finish", "inputSchema": {"type": "object"}},
]


def say(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def answer(method: str, params: dict[str, Any], id: object) -> dict[str, Any] | None:
    """The result; None where it is given otherwise."""
    match method:
        case "initialize":
            tasks: dict[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
            return {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}, "tasks": tasks},
                "serverInfo": {"name": "tasking", "version": "1"},
            }
        case "tools/list":
            return {"tools": TOOLS}
        case "tools/call" if params["name"] == "work":
            task = Task(len(TASKS) + 1)
            TASKS[task.id] = task
            return {"task": task.told()}
        case "tools/call":
            TASKS[f"task-{params['arguments']['task']}"].end("completed")
            return {"content": []}
        case "tasks/list":
            return {"tasks": [task.told() for task in TASKS.values()]}
        case "tasks/get":
            return TASKS[params["taskId"]].told()
        case "tasks/cancel":
            TASKS[params["taskId"]].end("cancelled")
            return TASKS[params["taskId"]].told()
        case "tasks/result":
            TASKS[params["taskId"]].give(id)
            return None
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = answer(message["method"], message.get("params", {}), message["id"])
        if result is not None:
            say({"id": message["id"], "result": result})
