"""How several workers share the tests (`make test`): a file goes to one of them, the long ones first."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

LONG = [
    "tests/chaos/test_storm.py",
    "tests/conformance/test_server_mode.py",
    "tests/chaos/test_leaks.py",
    "tests/web/test_page.py",
    "tests/test_top.py",
    "tests/chaos/test_endings.py",
    "tests/chaos/test_habits.py",
    "tests/relay/test_ownership.py",
    "tests/conformance/test_client_mode.py",
    "tests/real/test_clients.py",
    "tests/real/test_hub.py",
    "tests/deploy/test_dashboard.py",
    "tests/telemetry/test_discovery.py",
    "tests/test_wire_properties.py",
    "tests/chaos/test_crowd.py",
    "tests/real/test_rest.py",
    "tests/real/test_canary.py",
    "tests/test_api.py",
    "tests/real/test_warm.py",
    "tests/config/test_watch.py",
    "tests/chaos/test_deaf_servers.py",
    "tests/real/test_lifetime.py",
]
"""Those that would be waited for in the end, about the longest first."""

APART = {"tests/chaos/test_endings.py", "tests/real/test_clients.py", "tests/real/test_lifetime.py"}
"""Those whose tests share nothing, so that each may run where there is room."""


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


class Sharing(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """In the order in which the workers found the tests."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        """What stays together."""
        return nodeid if file_of(nodeid) in APART else file_of(nodeid)


def long_first(items: list[pytest.Item]) -> None:
    places = {file: place for place, file in enumerate(LONG)}
    items.sort(key=lambda item: places.get(file_of(item.nodeid), len(LONG)))
