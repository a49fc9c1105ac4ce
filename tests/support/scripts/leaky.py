"""A server that says the secrets it was given in every way that it can: `leak` with `how` chooses one."""

import base64
import json
import os
import sys
import time
from typing import Any
from urllib.parse import quote

SECRETS = [*sys.argv[1:], *(value for name, value in os.environ.items() if name.startswith("LEAKY_"))]
ALL = " ".join([*SECRETS, *map(quote, SECRETS), *(base64.b64encode(one.encode()).decode() for one in SECRETS)])
LINES = ALL.replace("\n", " ")
ENV = os.environ.get("LEAKY_TOKEN", "")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def message(**members: Any) -> None:
    say(json.dumps({"jsonrpc": "2.0", **members}))


def result(id: object, value: object) -> None:
    message(id=id, result=value)


def text(id: object, said: str, **more: Any) -> None:
    result(id, {"content": [{"type": "text", "text": said}], **more})


def leak(id: object, how: str) -> None:  # noqa: C901 (one branch for each way)
    match how:
        case "stderr":
            print(ALL, file=sys.stderr, flush=True)
            text(id, "done")
        case "traceback":
            import traceback

            try:
                raise ValueError(ALL)
            except ValueError:
                traceback.print_exc()
            text(id, "done")
        case "stdout":
            say(f"stray {LINES}")
            text(id, "done")
        case "text":
            text(id, ALL)
        case "json in text":
            text(id, json.dumps({"env": dict(enumerate(SECRETS)), "deep": json.dumps([ALL])}))
        case "structured":
            result(id, {"content": [], "structuredContent": {ALL: ALL}})
        case "tool error":
            text(id, f"failed with {ALL}", isError=True)
        case "error":
            message(id=id, error={"code": -32000, "message": f"no: {ALL}", "data": {"env": SECRETS}})
        case "odd error":
            message(id=id, error=ALL)
        case "odd result":
            message(id=id, result=ALL)
        case "no result":
            message(id=id, other=ALL)
        case "broken json":
            say(json.dumps({"jsonrpc": "2.0", "id": id, "result": {"secret": LINES}})[:-3])
        case "glued":
            say(json.dumps({"jsonrpc": "2.0", "id": id, "result": {}}) + json.dumps({"x": ALL}))
        case "unknown request":
            message(id=f"id {ENV}", method=f"x/{ENV}", params={"secret": ALL})
            text(id, "done")
        case "bad request":
            message(id=7, method="elicitation/create", params=[ALL])
            text(id, "done")
        case "log message":
            message(method="notifications/message", params={"level": "error", "data": ALL})
            text(id, "done")
        case "bad notification":
            message(method=LINES, params={"a": ALL})
            text(id, "done")
        case "new tools":
            TOOLS[1:] = [{"name": SECRETS[0], "inputSchema": {"type": "object"}}, {"name": "bad", "title": 5, "x": ALL}]
            TOOLS.append({"name": SECRETS[0] + "2", "inputSchema": {"type": ALL}})
            message(method="notifications/tools/list_changed")
            text(id, "done")
        case "silence":
            print(ALL, file=sys.stderr, flush=True)
        case "exit":
            print(f"fatal: {ALL}", file=sys.stderr, flush=True)
            sys.exit(3)


TOOLS: list[dict[str, Any]] = [{"name": "leak", "inputSchema": {"type": "object"}}]


def main() -> None:
    if os.environ.get("NEVER_STARTS"):
        print(f"can't start with {ALL}", file=sys.stderr, flush=True)
        say(f"not a message {LINES}")
        time.sleep(float(os.environ["NEVER_STARTS"]))
        sys.exit(f"gave up: {ALL}")
    for line in sys.stdin:
        asked = json.loads(line)
        id, params = asked.get("id"), asked.get("params") or {}
        match asked.get("method"):
            case "initialize":
                about = {"name": f"leaky {ALL}", "version": LINES}
                capabilities = {"tools": {"listChanged": True}, "logging": {}}
                info = {"protocolVersion": params["protocolVersion"], "capabilities": capabilities, "serverInfo": about}
                result(id, info)
            case "tools/list":
                result(id, {"tools": TOOLS})
            case "tools/call":
                leak(id, params.get("arguments", {}).get("how", "text"))
            case _ if id is not None:
                message(id=id, error={"code": -32601, "message": ALL})


if __name__ == "__main__":
    main()
