"""The shapes of the configuration: the file as it is written, and what loading it yields.

In the file all keys are camelCase (`callTimeout`), in Python snake_case. All times are seconds.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from .lean import without_plugins

Transport = Literal["stdio", "streamable-http", "sse"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]
_Limit = Annotated[int, Field(ge=0)]
# Strictness is for scalars ("30" is no number); JSON has no tuples and no paths.
_Strings = Annotated[tuple[str, ...], Field(strict=False)]
_FilePath = Annotated[Path, Field(strict=False)]


class _Shape(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        # Python code says call_timeout; the file is validated by alias only (see document.py).
        validate_by_name=True,
        validate_by_alias=True,
        # Inputs hold tokens, and an error's text may end up in a log.
        hide_input_in_errors=True,
        # All are built at the end of this module, see there.
        defer_build=True,
    )


class ToolRules(_Shape):
    """Which tools of a server are shown, and how. All names and globs are the server's own, without prefix.

    Without `allow` all tools are allowed; `deny` beats `allow`. `rename` is {from: to}, `describe` {name: text}.
    """

    allow: _Strings | None = None
    deny: _Strings = ()
    rename: dict[str, str] = {}
    describe: dict[str, str] = {}


class ServerEntry(_Shape):
    """One entry of `mcpServers`: either `command` (and args, env, cwd) or `url` (and type, headers).

    `prefix` is None where the entry's key is the prefix. `type` "ws" is a known type that is not served. `call_timeout`
    runs anew with each progress of a call, up to `call_maximum`. `ask_timeout` is the time that a client has to answer
    what this server asks of it or its user. Of calls, `max_running` are sent at once and `max_queued` more wait.
    `trust_hints`: calls of tools that call themselves read-only or idempotent are sent again where a connection broke.
    """

    command: str | None = None
    args: _Strings = Field(default=(), repr=False)
    env: dict[str, str] = Field(default={}, repr=False)
    cwd: str | None = None
    type: Literal["stdio", "http", "streamable-http", "sse", "ws"] | None = None
    url: str | None = Field(default=None, repr=False)
    headers: dict[str, str] = Field(default={}, repr=False)
    enabled: bool = True
    prefix: str | None = None
    call_timeout: _Seconds = 300.0
    start_timeout: _Seconds = 30.0
    call_maximum: _Seconds = 3600.0
    ask_timeout: _Seconds = 600.0
    max_running: _Count = 64
    max_queued: _Limit = 256
    trust_hints: bool = False
    inherit_env: _Strings = ()
    tools: ToolRules = Field(default_factory=ToolRules)

    @property
    def transport(self) -> Transport:
        """How the server is reached. A url without a type is Streamable HTTP (and so is "ws", which never starts)."""
        if self.command is not None:
            return "stdio"
        return "sse" if self.type == "sse" else "streamable-http"


class LogSettings(_Shape):
    """`file` None means stderr; a relative one is beside the configuration: the working directory is the client's."""

    level: LogLevel = "info"
    format: LogFormat = "json"
    file: _FilePath | None = None


class MetricsSettings(_Shape):
    """The Prometheus endpoint. Off by default; port 0 takes any free port and the log says which.

    The default port is fixed so that a scraper can be told once; 9464 is what OpenTelemetry's exporter uses.
    """

    enabled: bool = False
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464


class ProxySettings(_Shape):
    """The `proxy` section.

    `name` is the entry's name in the client, whose length counts against the 64 characters of a tool's full name.
    `list_wait` 0 answers the first `tools/list` with whatever is ready. Lists with more than `page_size` entries come
    in pages. `state_dir` None means the user's own.
    """

    name: Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$", max_length=32)] = "hub"
    instructions: str | None = None
    log: LogSettings = Field(default_factory=LogSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    list_wait: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    page_size: _Count = 1000
    state_dir: _FilePath | None = None


class ConfigFile(_Shape):
    """The whole file, as written: nothing is expanded yet."""

    mcp_servers: dict[str, ServerEntry]
    proxy: ProxySettings = Field(default_factory=ProxySettings)


with without_plugins():
    for _shape in (ToolRules, ServerEntry, LogSettings, MetricsSettings, ProxySettings, ConfigFile):
        _shape.model_rebuild()


@dataclass(frozen=True, slots=True)
class Server:
    """One configured server, ready to start unless `problem` says why not or `entry.enabled` is False.

    `prefix` is the one in effect, not yet cleaned for names. `entry` has its variables expanded; `expanded` are the
    values that the environment put into it, which may be secrets.
    """

    key: str
    prefix: str
    entry: ServerEntry
    problem: str | None = None
    expanded: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """A good configuration. `servers` are in the file's order; `warnings` are finished lines for the user."""

    path: Path
    proxy: ProxySettings = field(default_factory=ProxySettings)
    servers: tuple[Server, ...] = ()
    warnings: tuple[str, ...] = ()
