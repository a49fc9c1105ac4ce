"""The command line: what can be said, and who does it.

argparse and not a larger library, since a client waits for `run` and all others cost it a tenth of a second; the help
is laid out by rich-argparse, imported when somebody asks for it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from . import __version__
from .errors import ConfigError, ManifoldError

_DESCRIPTION: Final = "One MCP server in front of many: list it once in your client, and see the tools of all of them."

_MOST_PORT: Final = 65535
_EXAMPLES: Final = """\
examples:
  mcp-manifold demo                         see it work, with nothing to set up
  mcp-manifold check --config config.json   are all servers well?
  mcp-manifold tools                        what clients will see
  mcp-manifold call time__get_current_time '{"timezone": "Europe/Berlin"}'

in Claude Code:
  claude mcp add hub -- mcp-manifold run --config /path/config.json
"""

_CONFIG_HELP: Final = "the configuration (default: $MCP_MANIFOLD_CONFIG, else config.json in your config directory)"


class _HelpAction(argparse.Action):
    """`--help` in colour, on a terminal."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        if sys.stdout.isatty():
            from rich_argparse import RawDescriptionRichHelpFormatter  # only a person who asks for help pays for it

            parser.formatter_class = RawDescriptionRichHelpFormatter
        parser.print_help()
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """A parser whose errors exit with 2, in one line and a hint."""

    def __init__(self, **options: Any) -> None:
        # argparse lays out each argument to check it. To ask for the terminal's width would cost each start 3 ms.
        layout = partial(argparse.RawDescriptionHelpFormatter, width=80)
        super().__init__(**options, add_help=False, allow_abbrev=False, formatter_class=layout)
        self.add_argument("-h", "--help", action=_HelpAction, nargs=0, help="show this help and exit")

    def error(self, message: str) -> Any:
        self.exit(2, f"{self.prog}: {message} (try {self.prog} --help)\n")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _MOST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, which is a number up to {_MOST_PORT}")
    return int(text)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = _Parser(prog="mcp-manifold", description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("--version", action="version", version=f"mcp-manifold {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser, required=True)

    def add(name: str, text: str, epilog: str = "", *, config: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=epilog)
        if config:
            command.add_argument("--config", metavar="FILE", help=_CONFIG_HELP)
        return command

    add(
        "run",
        "serve a client on stdin and stdout",
        "This is what a client starts; it is of little use by hand.\n"
        "example: claude mcp add hub -- mcp-manifold run --config /path/config.json",
    )
    serve = add(
        "serve",
        "serve many clients over the network: MCP over HTTP and WebSocket, REST, and a page",
        "example: mcp-manifold serve --port 8765\n"
        "         claude mcp add --transport http hub http://127.0.0.1:8765/mcp "
        '--header "Authorization: Bearer $(mcp-manifold token)"',
    )
    add("token", "show the access token of the hub", "It is made at first use, and kept where only you can read it.")
    page = add("ui", "open the page of a running hub", "example: mcp-manifold ui --print")
    page.add_argument("--print", action="store_true", help="print the link, which is good once and for a minute")
    for command in (serve, page):
        command.add_argument("--host", metavar="HOST", help="where it listens (default: proxy.http.host, 127.0.0.1)")
        command.add_argument("--port", metavar="PORT", type=_port, help="(default: proxy.http.port, 8765)")
    check = add(
        "check",
        "connect to every server and say how each one is",
        "example: mcp-manifold check --config config.json\n"
        "exit codes: 0 all servers are ready, 1 some are not, 2 the configuration is bad",
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    tools = add("tools", "list the tools as clients see them", "example: mcp-manifold tools --json")
    tools.add_argument("--json", action="store_true", help="print JSON")
    call = add(
        "call",
        "call one tool, through the whole path",
        """example: mcp-manifold call time__get_current_time '{"timezone": "Europe/Berlin"}'\n"""
        "exit codes: 0 it worked, 1 the tool or the call failed, 2 the configuration or the arguments are bad",
    )
    call.add_argument("name", metavar="NAME", help="the tool's public name, as `mcp-manifold tools` shows it")
    call.add_argument("arguments", metavar="JSON", nargs="?", help="its arguments, a JSON object (default: {})")
    call.add_argument("--json", action="store_true", help="print the whole result as JSON")
    cache = add(
        "cache",
        "show, renew or forget what is remembered of the servers",
        "example: mcp-manifold cache refresh git time\n"
        "What servers list is remembered, so that they are started only when they are needed.\n"
        "exit codes: 0 all is well, 1 a server could not be listed, 2 the configuration or a name is bad",
    )
    cache.add_argument(
        "action", nargs="?", choices=["show", "refresh", "clear"], default="show", help="(default: show)"
    )
    cache.add_argument("servers", metavar="SERVER", nargs="*", help="its key in the configuration (default: all)")
    cache.add_argument("--json", action="store_true", help="print JSON")
    cache.add_argument("--names", action="store_true", help="with clear: forget the names of tools, too")
    _add_watching(add)
    demo = "see it work with sample servers, no configuration and no network"
    add("demo", demo, "example: mcp-manifold demo", config=False)
    return parser


def _add_watching(add: Callable[..., argparse.ArgumentParser]) -> None:
    """What operators look with."""
    top = add(
        "top",
        "watch all running proxies: servers, calls under way, memory, what went wrong",
        "example: mcp-manifold top\n         mcp-manifold top --once --json",
    )
    top.add_argument("--once", action="store_true", help="print what there is now, and end")
    top.add_argument("--json", action="store_true", help="with --once: print JSON")
    logs = add(
        "logs",
        "show the log as people read it",
        "example: mcp-manifold logs --failed --server github\n"
        "         mcp-manifold logs -f\n"
        "         journalctl --user -u mcp-manifold -o cat | mcp-manifold logs --failed -\n"
        "It reads `log.file` of the configuration, with what was moved aside of it, or the FILE that is named.",
    )
    logs.add_argument("file", metavar="FILE", nargs="?", help="another log than that of the configuration; - is stdin")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    logs.add_argument("-n", "--lines", metavar="N", type=_number, help="only the last N (default: all; 20 with -f)")
    logs.add_argument("--server", metavar="SERVER", help="only lines about this server")
    logs.add_argument("--session", metavar="SESSION", help="only lines about this session, or those that begin so")
    logs.add_argument("--failed", action="store_true", help="only what went wrong: failed calls, warnings, errors")


def run_command_line(argv: Sequence[str]) -> int:
    """Do what the arguments say; returns the exit code. Errors for the user go to stderr, without a traceback."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.command == "call" and len(rest) == 1 and arguments.arguments is None and not rest[0].startswith("-"):
        arguments.arguments = rest.pop()  # argparse wants it right behind the name, people put it last
    if rest:
        parser.exit(
            2, f"mcp-manifold: unknown argument: {' '.join(rest)} (try mcp-manifold {arguments.command} --help)\n"
        )
    try:
        # Each command brings its own imports, and `run` must not pay for the others'.
        command = importlib.import_module(f"proxy.commands.{arguments.command}")
        code = int(command.main(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a reader that has gone is understood
        return code
    except ConfigError as problem:
        return _complain(problem.problems, 2)
    except ManifoldError as problem:
        return _complain([str(problem)], 1)
    except BrokenPipeError:
        # Whoever read our output has had enough. Python would complain once more while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as problem:
        return _complain([f"{problem.strerror or problem}{f': {problem.filename}' if problem.filename else ''}"], 1)
    except KeyboardInterrupt:
        return 130


def _complain(lines: Sequence[str], code: int) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return code
