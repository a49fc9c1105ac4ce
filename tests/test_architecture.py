"""The shape of the code: levels, no cycles, small files, a test beside each module, a cheap start."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.client import ChildWire, connected
from tests.support.manifold import RUN, list_tools, write_config

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "proxy"

# Each level imports from itself and from the ones above it in this list; names on one line stand side by side.
LEVELS = [
    ("errors",),
    ("texts", "names", "uris", "aside", "memory", "tracecontext"),
    ("events",),
    ("wire",),
    ("config",),
    ("policy",),
    ("definitions",),
    ("catalogue",),
    ("lifecycle",),
    ("eras",),
    ("store",),
    ("relay",),
    ("pump",),
    ("transports",),
    ("conversation", "printed", "remembered"),
    ("inventory",),
    ("survey", "nap"),
    ("telemetry",),
    ("supervisor",),
    ("fleet",),
    ("reload", "upkeep", "status"),
    ("overview",),
    ("fronts",),
    ("web", "control"),
    ("app",),
    ("serve", "api"),
    ("langchain",),
    ("samples",),
    ("demo",),
    ("top",),
    ("commands",),
    ("cli",),
    ("__main__",),
]
LEVEL_OF = {name: number for number, names in enumerate(LEVELS) for name in names}

# The libraries that cost more than a start may; where they may be named at all.
HEAVY = {
    "mcp": {"transports"},
    "httpx2": {"transports", "commands", "api"},
    "pydantic": {"config"},
    "langchain_core": {"langchain"},
    "rich": {"commands", "demo", "top"},
    "textual": {"top"},
    "starlette": set[str](),
    "uvicorn": {"web"},
    "jsonschema": {"web"},
    "referencing": {"web"},
    "opentelemetry": {"telemetry"},
}

# What the package itself may name: for type checkers, and to be imported once somebody asks for it.
OF_THE_PACKAGE = "proxy.api"

# Modules whose behaviour is shown elsewhere: path in the package -> where and why.
NO_TEST_OF_ITS_OWN: dict[str, str] = {
    "transports/http_client.py": "the client of HTTP channels; every test of test_http and test_sse goes through it",
    "relay/elicitation.py": "tests/relay/test_questions.py shows it through the relay",
    "telemetry/ended.py": "plain facts; tests/telemetry/test_traces.py and test_spans.py make spans of them",
    "relay/target.py": "plain facts of a server; every test of the relay goes through them",
    "overview.py": "tests/web/test_live.py and tests/test_control.py show it through both of its readers",
    "serve.py": "puts the hub together; tests/real/test_hub.py and tests/commands/test_serve.py start it",
    "__main__.py": "hands over to cli; every test in tests/real starts it",
}

LONGEST_FILE = 400
LONGEST_FUNCTION = 70


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, for each module of the package."""
    found: dict[str, Path] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imports_of(module: str, *, types_too: bool = True) -> tuple[str, ...]:
    """Every module named in an import anywhere in the file, functions included; those for types alone on request."""
    found: set[str] = set()
    for node in statements(ast.parse(modules()[module].read_text()), types_too=types_too):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = origin_of(module, node)
            whole = {f"{origin}.{alias.name}" for alias in node.names}
            submodules = whole & modules().keys()
            found |= submodules
            if len(submodules) < len(whole):
                found.add(origin)
    return tuple(sorted(found))


def statements(node: ast.AST, *, types_too: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not types_too and isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from statements(child, types_too=types_too)


def origin_of(module: str, node: ast.ImportFrom) -> str:
    """The absolute name of what `from ... import` takes from."""
    if node.level == 0:
        return node.module or ""
    package = module.split(".")
    if modules()[module].name != "__init__.py":
        package.pop()
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, node.module] if node.module else package)


def level_of(module: str) -> int | None:
    """None for the package itself, which everything may read its version from."""
    parts = module.split(".")
    return LEVEL_OF[parts[1]] if len(parts) > 1 else None


def test_every_module_has_a_level() -> None:
    unknown = {name.split(".")[1] for name in modules() if "." in name} - LEVEL_OF.keys()
    assert not unknown, f"give these a place in LEVELS: {unknown}"


def test_each_level_imports_only_from_the_ones_above_it() -> None:
    wrong: list[str] = []
    for module in modules():
        own = level_of(module)
        for imported in imports_of(module):
            if imported.split(".")[0] != PACKAGE.name:
                continue
            other = level_of(imported)
            if own is None:
                if imported != OF_THE_PACKAGE:
                    wrong.append(f"{module} imports {imported}: the package itself names {OF_THE_PACKAGE} alone")
            elif other is not None and (other > own or (other == own and not same_part(module, imported))):
                wrong.append(f"{module} imports {imported}")
    assert wrong == []


def same_part(one: str, other: str) -> bool:
    return one.split(".")[1] == other.split(".")[1]


def test_no_import_goes_in_a_circle() -> None:
    done: set[str] = set()

    def follow(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module in done:
            return
        for imported in imports_of(module, types_too=False):
            if imported in modules() and imported != module:
                follow(imported, (*trail, module))
        done.add(module)

    for module in modules():
        follow(module, ())


def test_the_package_itself_imports_nothing() -> None:
    """Everything imports it first, and each start pays for it."""
    names = "import sys; before = set(sys.modules); import proxy; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([RUN[0], "-S", "-c", names], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["proxy"]


def test_only_the_composition_root_knows_who_observes() -> None:
    knowing = {
        module
        for module in modules()
        if any(name.startswith("proxy.telemetry") for name in imports_of(module))
        and not module.startswith("proxy.telemetry")
    }
    assert {module.split(".")[1] for module in knowing} <= {"app", "demo"}


def test_heavy_libraries_are_named_only_where_they_are_needed() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module in modules()
        for imported in imports_of(module)
        if (library := imported.split(".")[0]) in HEAVY and module.split(".")[1] not in HEAVY[library]
    ]
    assert wrong == []


def test_files_stay_short() -> None:
    lengths = {name: len(file.read_text().splitlines()) for name, file in modules().items()}
    assert {name: length for name, length in lengths.items() if length >= LONGEST_FILE} == {}


def test_functions_stay_short() -> None:
    long = {
        f"{module}.{node.name}": length
        for module, file in modules().items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) >= LONGEST_FUNCTION
    }
    assert long == {}


def test_every_module_has_a_test_of_its_own() -> None:
    missing: list[str] = []
    for file in modules().values():
        path = file.relative_to(PACKAGE)
        if path.name == "__init__.py" or path.as_posix() in NO_TEST_OF_ITS_OWN:
            continue
        candidates = [ROOT / "tests" / path.parent / f"test_{path.name}"]
        if path.parent != Path():
            candidates.append(ROOT / "tests" / f"test_{path.parts[0]}.py")
        if not any(candidate.exists() for candidate in candidates):
            missing.append(path.as_posix())
    assert missing == []


def test_the_exemptions_name_modules_that_exist() -> None:
    assert {path for path in NO_TEST_OF_ITS_OWN if not (PACKAGE / path).exists()} == set()


@pytest.mark.parametrize("metrics", [False, True], ids=["plain", "with-metrics"])
def test_a_start_with_stdio_servers_alone_imports_nothing_heavy(metrics: bool, tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        {"raw": servers.script("raw_echo.py")},
        metrics={"enabled": metrics, "host": "127.0.0.1", "port": 0},
    )
    child = ChildWire([RUN[0], "-X", "importtime", *RUN[1:], str(config)])
    with connected(child) as client:
        client.initialize()
        assert "raw__verbatim" in list_tools(client)
        assert client.call("raw__verbatim").result["content"] == []
        child.close_stdin()
        assert child.wait_for_exit() == 0
    lines = [line for line in child.stderr().splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "asyncio.events" in imported
    assert {name for name in imported if name.split(".")[0] in HEAVY} == set()
