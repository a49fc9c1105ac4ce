"""A server with a tool, a prompt and a resource of each name; what they are called is its first argument.

Its tool `pid` answers with its process number, `wait` once the FIFO that its argument `gate` names was written to.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

NAME = sys.argv[1]


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "tools/call" and message["params"]["name"] == "wait":
            threading.Thread(target=wait, args=(message,), daemon=True).start()
        elif "id" in message:
            say(message["id"], answer(message))


def answer(message: dict[str, Any]) -> dict[str, Any]:
    match message["method"]:
        case "initialize":
            return {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}, "prompts": {}, "resources": {}},
                "serverInfo": {"name": "full", "version": "1"},
            }
        case "tools/list":
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("pid", "wait")]}
        case "prompts/list":
            return {"prompts": [{"name": NAME}]}
        case "resources/list":
            return {"resources": [{"name": NAME, "uri": f"full://{NAME}"}]}
        case "resources/templates/list":
            return {"resourceTemplates": []}
        case "tools/call":
            return {"content": [{"type": "text", "text": str(os.getpid())}]}
    return {}


def wait(message: dict[str, Any]) -> None:
    Path(message["params"]["arguments"]["gate"]).read_text()  # until somebody has opened it, written, and closed it
    say(message["id"], {"content": [{"type": "text", "text": "the gate is open"}]})


def say(id: object, result: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}) + "\n")
    sys.stdout.flush()


main()
