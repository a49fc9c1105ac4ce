"""A server whose one tool has a user interface (MCP Apps): a page that says what the first argument is.

Every such server has the same tool and the same `ui://` URI.
"""

import json
import sys
from typing import Any

PAGE = "ui://panel/main.html"
TYPE = "text/html;profile=mcp-app"


def answer(message: dict[str, Any]) -> dict[str, Any]:
    match message["method"]:
        case "initialize":
            return {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}, "resources": {}},
                "serverInfo": {"name": "app", "version": "1"},
            }
        case "tools/list":
            meta = {"ui": {"resourceUri": PAGE, "visibility": ["model"]}, "ui/resourceUri": PAGE}
            return {"tools": [{"name": "show", "inputSchema": {"type": "object"}, "_meta": meta}]}
        case "tools/call":
            return {"content": [{"type": "resource_link", "name": "page", "uri": PAGE}]}
        case "resources/list":
            return {"resources": [{"name": "page", "uri": PAGE, "mimeType": TYPE}]}
        case "resources/read":
            page = f"<p>{sys.argv[1]}</p>"
            return {"contents": [{"uri": message["params"]["uri"], "mimeType": TYPE, "text": page}]}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}), flush=True)
