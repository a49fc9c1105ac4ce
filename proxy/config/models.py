"""The shapes of the configuration: the file as it is written, and what loading it yields.

In the file all keys are camelCase (`callTimeout`), in Python snake_case. All times are seconds.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Transport = Literal["stdio", "streamable-http", "sse"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]
# Of the booleans false alone, which checks.py sees to: msgspec knows no such literal.
Payloads = bool | Literal["names", "redacted"]

# JSON's 1e400 is read as infinite, which is no time.
_LARGEST = sys.float_info.max
_Seconds = Annotated[float, Meta(gt=0, le=_LARGEST)]
_Wait = Annotated[float, Meta(ge=0, le=_LARGEST)]
_Count = Annotated[int, Meta(ge=1)]
_Limit = Annotated[int, Meta(ge=0)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Port = Annotated[int, Meta(ge=0, le=65535)]
_Text = Annotated[str, Meta(min_length=1)]
# \Z, since $ would allow a line break at the end.
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+\Z", max_length=32)]


class _Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Constraints hold for what is read from a file (document.py), not for what Python code builds.

    Kinds of values that are new here need their counterpart in explain.py, which says what is wrong with a file.
    """


class ToolRules(_Shape, frozen=True, kw_only=True):
    """Which tools of a server are shown, and how. All names and globs are the server's own, without prefix.

    Without `allow` all tools are allowed; `deny` beats `allow`. `rename` is {from: to}, `describe` {name: text}.
    """

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    rename: dict[str, str] = {}
    describe: dict[str, str] = {}


# They hold tokens, and a representation may end up in a log.
_HIDDEN = frozenset({"args", "env", "url", "headers"})


class ServerEntry(_Shape, frozen=True, kw_only=True):
    """One entry of `mcpServers`: either `command` (and args, env, cwd) or `url` (and type, headers).

    `prefix` is None where the entry's key is the prefix. `type` "ws" is a known type that is not served. `call_timeout`
    runs anew with each progress of a call, up to `call_maximum`. `ask_timeout` is the time that a client has to answer
    what this server asks of it or its user. Of calls, `max_running` are sent at once and `max_queued` more wait for
    their turn; for a server that is being started as many may wait as could be sent at once, if that is more.
    `trust_hints`: calls of tools that call themselves read-only or idempotent are sent again where a connection broke.
    A server whose lists are known is started when it is needed, unless `start` says otherwise, and stopped when it has
    not been needed for `idle_stop`, unless that is 0.
    """

    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str | None = None
    type: Literal["stdio", "http", "streamable-http", "sse", "ws"] | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    enabled: bool = True
    prefix: str | None = None
    call_timeout: _Seconds = 300.0
    start_timeout: _Seconds = 30.0
    call_maximum: _Seconds = 3600.0
    ask_timeout: _Seconds = 600.0
    max_running: _Count = 64
    max_queued: _Limit = 256
    trust_hints: bool = False
    start: Literal["lazy", "eager"] = "lazy"
    idle_stop: _Wait = 0.0
    inherit_env: tuple[str, ...] = ()
    tools: ToolRules = msgspec.field(default_factory=ToolRules)

    @property
    def transport(self) -> Transport:
        """How the server is reached. A url without a type is Streamable HTTP (and so is "ws", which never starts)."""
        if self.command is not None:
            return "stdio"
        return "sse" if self.type == "sse" else "streamable-http"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in _HIDDEN]

    def __repr__(self) -> str:
        return f"ServerEntry({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class LogSettings(_Shape, frozen=True, kw_only=True):
    """`file` None means stderr; a relative one is beside the configuration: the working directory is the client's.

    A file that reaches `max_bytes` is moved aside, unless that is 0; `keep` of the moved ones stay. `payloads` is what
    is told of a call's arguments and result: nothing, the arguments' names and sizes, or both cut and without secrets.
    `levels` are those of single servers, where they differ from `level`.
    """

    level: LogLevel = "info"
    levels: dict[str, LogLevel] = {}
    format: LogFormat = "json"
    file: Path | None = None
    max_bytes: _Limit = 50 * 1024 * 1024
    keep: _Count = 3
    payloads: Payloads = False


class AuditSettings(_Shape, frozen=True, kw_only=True):
    """A file that gets one row for each tool call and is never moved or cut; without it there is none."""

    file: Path | None = None


class OtlpSettings(_Shape, frozen=True, kw_only=True):
    """Where an OpenTelemetry collector takes OTLP over HTTP, if anywhere. `interval` is in seconds."""

    endpoint: _Text | None = None
    headers: dict[str, str] = {}
    interval: _Seconds = 60.0

    def __repr__(self) -> str:
        return f"OtlpSettings(endpoint={'...' if self.endpoint else None}, interval={self.interval})"


class MetricsSettings(_Shape, frozen=True, kw_only=True):
    """The ways to the figures, all off by default.

    With `enabled` Prometheus finds them on a port of their own; port 0 takes any free port and the log says which. The
    default port is fixed so that a scraper can be told once; 9464 is what OpenTelemetry's exporter uses. With
    `discovery` a file in the state directory says where each process has them. `textfile` is a directory for files that
    node_exporter reads.
    """

    enabled: bool = False
    host: _Text = "127.0.0.1"
    port: _Port = 9464
    discovery: bool = False
    textfile: Path | None = None
    otlp: OtlpSettings = msgspec.field(default_factory=OtlpSettings)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody is to be told."""
        return self.enabled or self.discovery or self.textfile is not None or self.otlp.endpoint is not None


class TracesSettings(_Shape, frozen=True, kw_only=True):
    """The collector that spans are sent to, by OTLP over HTTP; without an `endpoint` there are none.

    Of the calls that come without a trace of their client's the share `ratio` is recorded.
    """

    endpoint: _Text | None = None
    headers: dict[str, str] = {}
    ratio: _Share = 1.0

    def __repr__(self) -> str:  # both hold keys, and a representation may end up in a log
        return f"TracesSettings(ratio={self.ratio!r})"


class HttpSettings(_Shape, frozen=True, kw_only=True):
    """The ways in over the network, which `serve` opens.

    Without `auth` "token" nobody is asked for one; `token_file` None means the one that we make. Beyond loopback it
    takes TLS files, or `insecure` where something in front of it encrypts. `allowed_hosts` are names that clients may
    know us by, `allowed_origins` those of web pages of others that may use us. One client may have `max_in_flight`
    calls under way, and its session ends after `session_timeout` seconds without a word. `max_body` counts bytes.
    """

    host: _Text = "127.0.0.1"
    port: _Port = 8765
    auth: Literal["token", "none"] = "token"
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body: _Count = 4 * 1024 * 1024
    max_in_flight: _Count = 256
    session_timeout: _Seconds = 1800.0


class ProxySettings(_Shape, frozen=True, kw_only=True):
    """The `proxy` section.

    `name` is the entry's name in the client, whose length counts against the 64 characters of a tool's full name.
    `list_wait` 0 answers the first `tools/list` with whatever is ready. Lists with more than `page_size` entries come
    in pages. What is remembered of a server for longer than `refresh_after` is read again, in the background.
    `state_dir` None means the user's own. With `control` the process shows itself to `top`, over a socket in it.
    """

    name: _Name = "hub"
    instructions: str | None = None
    log: LogSettings = msgspec.field(default_factory=LogSettings)
    audit: AuditSettings = msgspec.field(default_factory=AuditSettings)
    metrics: MetricsSettings = msgspec.field(default_factory=MetricsSettings)
    traces: TracesSettings = msgspec.field(default_factory=TracesSettings)
    http: HttpSettings = msgspec.field(default_factory=HttpSettings)
    list_wait: _Wait = 10.0
    page_size: _Count = 1000
    refresh_after: _Wait = 24 * 3600.0
    state_dir: Path | None = None
    control: bool = True


class ConfigFile(_Shape, frozen=True, kw_only=True):
    """The whole file, as written: nothing is expanded yet."""

    mcp_servers: dict[str, ServerEntry]
    proxy: ProxySettings = msgspec.field(default_factory=ProxySettings)


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
    """A good configuration. `servers` are in the file's order; `warnings` are finished lines for the user.

    `expanded` are the values that the environment put into the `proxy` section, which may be secrets. `given` are those
    of `http` that the command line gave.
    """

    path: Path
    proxy: ProxySettings = field(default_factory=ProxySettings)
    servers: tuple[Server, ...] = ()
    warnings: tuple[str, ...] = ()
    expanded: frozenset[str] = field(default=frozenset(), repr=False)
    given: Mapping[str, Any] = field(default_factory=dict)

    def with_given(self, given: Mapping[str, Any]) -> "Config":
        """The same with these values of `http`, which hold whatever the file says."""
        http = msgspec.structs.replace(self.proxy.http, **given)
        return replace(self, proxy=msgspec.structs.replace(self.proxy, http=http), given=given)
