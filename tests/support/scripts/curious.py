"""A server that reports progress, asks its client, and learns new tools.

Tools: `climb` reports `steps` steps and answers; `ask` sends its client the request `method` with `params`, and answers
with what it was answered, as a JSON text; `learn` adds the tool `name` to its list; `refuse` answers with its arguments
as an error; `told` with the capabilities of its client; any other gives its arguments back.
"""

import json
import sys
from typing import Any

TOOLS = ["climb", "ask", "learn", "refuse", "told"]
TOLD: dict[str, Any] = {}
"""What the client said of itself."""

ASKED: dict[str, Any] = {}
"""Our own id -> the id of the call that waits for the answer."""


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "method" not in message:
            answer(ASKED.pop(message["id"]), message.get("result", message.get("error")))
        elif "id" in message:
            respond(message)


def respond(message: dict[str, Any]) -> None:
    id, params = message["id"], message.get("params", {})
    match message["method"]:
        case "initialize":
            TOLD.update(params["capabilities"])
            capabilities = {"tools": {"listChanged": True}}
            hello = {"protocolVersion": params["protocolVersion"], "serverInfo": {"name": "curious", "version": "1"}}
            say(id=id, result={**hello, "capabilities": capabilities})
        case "tools/list":
            say(id=id, result={"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]})
        case "tools/call":
            call(id, params["name"], params["arguments"], params.get("_meta", {}))
        case _:
            say(id=id, result={})


def call(id: object, name: str, arguments: dict[str, Any], meta: dict[str, Any]) -> None:
    match name:
        case "climb":
            steps = arguments["steps"]
            for step in range(1, steps + 1):
                told = {"progressToken": meta["progressToken"], "progress": step, "total": steps}
                say(method="notifications/progress", params={**told, "message": f"at {step}"})
            if arguments.get("returns", True):
                answer(id, "on top")
        case "ask":
            own = f"question {id}"
            ASKED[own] = id
            say(id=own, method=arguments["method"], params=arguments["params"])
        case "learn":
            TOOLS.append(arguments["name"])
            say(method="notifications/tools/list_changed")
            answer(id, "learned")
        case "refuse":
            say(id=id, error=arguments)
        case "told":
            answer(id, TOLD)
        case _:
            answer(id, arguments)


def answer(id: object, value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    say(id=id, result={"content": [{"type": "text", "text": text}]})


def say(**message: object) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


main()
