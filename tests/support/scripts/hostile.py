"""A server whose every word tries to become markup, a script or a link that runs one. All of it has to stay text."""

import json
import sys
from typing import Any

MARKUP = "<img src=x onerror=\"window.hacked='img'\"><script>window.hacked='script'</script><b class=evil>bold</b>"
LINK = "javascript:window.hacked='link'"
SVG = "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciPjxzY3JpcHQ+PC9zY3JpcHQ+PC9zdmc+"  # with an empty script

TOOL: dict[str, Any] = {
    "name": "markup",
    "title": f"Title {MARKUP}",
    "description": f"Description {MARKUP}",
    "inputSchema": {
        "type": "object",
        "title": MARKUP,
        "properties": {
            f"name {MARKUP}": {"type": "string", "title": MARKUP, "description": MARKUP, "default": MARKUP},
            "__proto__": {"type": "string", "default": "x"},
            "choice": {"enum": [MARKUP, "b"], "default": MARKUP},
            "endless": {"$ref": "#/properties/endless"},
            "elsewhere": {"$ref": "http://127.0.0.1:9/never-fetched.json"},
            "deep": {"$ref": "#"},
            "odd": {"type": 5, "enum": "no list", "required": "none", "properties": {"p": 1}},
        },
        "required": ["nothing"],
    },
    "annotations": {"title": MARKUP, "readOnlyHint": "yes"},
}

RESULT: dict[str, Any] = {
    "content": [
        {"type": "text", "text": MARKUP},
        {"type": "text", "text": json.dumps({"inside": MARKUP})},
        {"type": "resource_link", "uri": LINK, "name": MARKUP, "description": MARKUP},
        {"type": "resource_link", "uri": "https://example.com/a", "name": "a good one"},
        {"type": "resource", "resource": {"uri": LINK, "mimeType": "text/html", "text": MARKUP}},
        {"type": "image", "data": "x", "mimeType": "text/html"},
        {"type": "image", "data": '"><script>', "mimeType": "image/png"},
        {"type": "image", "data": SVG, "mimeType": "image/svg+xml"},
        {"type": "audio", "data": "x", "mimeType": MARKUP},
        {"type": MARKUP, "text": MARKUP},
        None,
        7,
    ],
    "structuredContent": {"__proto__": {"evil": MARKUP}, MARKUP: [MARKUP, 123456789012345678901234567890, 1e400]},
}

PROMPT = {
    "name": "words",
    "title": MARKUP,
    "description": MARKUP,
    "arguments": [{"name": MARKUP, "description": MARKUP}],
}
RESOURCE = {"uri": LINK, "name": MARKUP, "title": MARKUP, "description": MARKUP, "mimeType": MARKUP}
CONTENTS = [{"uri": LINK, "mimeType": "text/html", "text": MARKUP}, {"uri": LINK, "mimeType": MARKUP, "blob": "<"}]


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "initialize":
            return {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}, "prompts": {}, "resources": {}},
                "serverInfo": {"name": f"name {MARKUP}", "version": MARKUP},
            }
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            sys.stderr.write(f"printed {MARKUP}\n")
            sys.stderr.flush()
            return RESULT
        case "prompts/list":
            return {"prompts": [PROMPT]}
        case "prompts/get":
            return {"description": MARKUP, "messages": [{"role": MARKUP, "content": one} for one in RESULT["content"]]}
        case "resources/list":
            return {"resources": [RESOURCE]}
        case "resources/read":
            return {"contents": CONTENTS}
    return {}


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            result = json.dumps(answer(message["method"], message.get("params", {}))).replace("Infinity", "1e400")
            sys.stdout.write(f'{{"jsonrpc":"2.0","id":{json.dumps(message["id"])},"result":{result}}}\n')
            sys.stdout.flush()


main()
