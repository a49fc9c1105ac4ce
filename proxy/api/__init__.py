"""The Python way in: `connect` to a hub, in this process or elsewhere, and use its tools, prompts and resources.

    from proxy import connect

    async with connect("servers.json") as hub:
        for tool in await hub.list_tools():
            print(tool.name, tool.description)
        result = await hub.call_tool("time__get_current_time", {"timezone": "UTC"})
        print(result.text)

Needs asyncio, and nothing of its surroundings: no signals, no standard streams, no settings of `logging`. What would be
in the log goes to the logger `mcp_manifold`: servers that come and go, and calls with their facts (see `logs.Log`).

All that is raised on purpose is a HubError, by `connect` as well; a tool that fails does not raise.
"""

from .asking import Handler
from .connecting import connect
from .errors import ConfigError, HubClosed, HubError, NotFound, ServerUnavailable, TimedOut
from .hub import Changes, Hub, Progress
from .results import CallResult, Contents, Prompt, PromptResult, Resource, ResourceTemplate, ServerStatus, Tool

__all__ = [
    "CallResult",
    "Changes",
    "ConfigError",
    "Contents",
    "Handler",
    "Hub",
    "HubClosed",
    "HubError",
    "NotFound",
    "Progress",
    "Prompt",
    "PromptResult",
    "Resource",
    "ResourceTemplate",
    "ServerStatus",
    "ServerUnavailable",
    "TimedOut",
    "Tool",
    "connect",
]
