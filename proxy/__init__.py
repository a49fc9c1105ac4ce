"""mcp-manifold: one MCP server in front of many. `connect` is the way in for Python programs; see `proxy.api`."""

__version__ = "0.1.0"
__all__ = ["HubError", "connect"]

TYPE_CHECKING = False  # as checkers know it: the import of typing takes ten times as long as all that is here
if TYPE_CHECKING:
    from .api import HubError, connect
else:

    def __getattr__(name: str) -> object:
        """Imports the Python way in when it is asked for: everything imports this package, and has to start fast."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(".api", __name__), name)
