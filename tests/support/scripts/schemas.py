"""A server whose tools have the schemas that its first argument holds by name, and give back what they are given."""

import json
import sys
from typing import Any

SCHEMAS: dict[str, Any] = json.loads(sys.argv[1])


def answer(message: dict[str, Any]) -> dict[str, Any]:
    match message["method"]:
        case "initialize":
            return {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "schemas", "version": "1"},
            }
        case "tools/list":
            return {"tools": [{"name": name, "inputSchema": schema} for name, schema in SCHEMAS.items()]}
        case "tools/call":
            return {"content": [], "structuredContent": message["params"]["arguments"]}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}), flush=True)
