"""A server that is what its folder, the first argument, says at its start. Each start is a line of the file `starts`.

`is.json` there may hold `version`, `tools` (names), `instructions`, `fails` (why it ends at once) and `gates` (method
-> FIFO that has to be written to before such a request is answered; a `*` in it is the scheme). Tools, its prompt and
its resource answer with the process number. Further arguments tell it from others; the first of them is the scheme of
its resource.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
SCHEME = sys.argv[2] if len(sys.argv) > 2 else "it"
IS: dict[str, Any] = json.loads((FOLDER / "is.json").read_text())
ANY = {"type": "object"}


def main() -> None:
    with (FOLDER / "starts").open("a") as starts:
        starts.write(f"{os.getpid()} {SCHEME}\n")
    if "fails" in IS:
        sys.exit(IS["fails"])
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        gate = IS.get("gates", {}).get(message["method"])
        if gate is None:
            answer(message)
        else:
            threading.Thread(target=answer_behind, args=(gate.replace("*", SCHEME), message), daemon=True).start()


def answer_behind(gate: str, message: dict[str, Any]) -> None:
    Path(gate).read_text()  # until somebody has opened it, written, and closed it
    answer(message)


def answer(message: dict[str, Any]) -> None:
    result = result_of(message["method"], message.get("params", {}))
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()


def result_of(method: str, params: dict[str, Any]) -> dict[str, Any]:
    me = {"type": "text", "text": str(os.getpid())}
    match method:
        case "initialize":
            return {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}, "prompts": {}, "resources": {"subscribe": True}},
                "serverInfo": {"name": "changing", "version": IS.get("version", "1")},
                "instructions": IS.get("instructions", ""),
            }
        case "tools/list":
            return {"tools": [{"name": name, "inputSchema": ANY} for name in IS.get("tools", ["pid"])]}
        case "tools/call":
            return {"content": [me]}
        case "prompts/list":
            return {"prompts": [{"name": "ask"}]}
        case "prompts/get":
            return {"messages": [{"role": "user", "content": me}]}
        case "resources/list":
            return {"resources": [{"name": "note", "uri": f"{SCHEME}://note"}]}
        case "resources/templates/list":
            return {"resourceTemplates": []}
        case "resources/read":
            return {"contents": [{"uri": params["uri"], "text": str(os.getpid())}]}
    return {}


main()
