"""What can be fuzzed: a check that takes any bytes, where to start, and how to get from there to others."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz import codec, peers
from tests.fuzz.mutations import CHOICES, LINES, SCRIPTS, WAYS_OF_CHOICES, WAYS_OF_LINES, WAYS_OF_SCRIPTS, Ways


@dataclass(frozen=True)
class Target:
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...] = CHOICES
    ways: Ways = WAYS_OF_CHOICES


TARGETS = {
    "line": Target(codec.check_any_line, LINES, WAYS_OF_LINES),
    "peers": Target(peers.check_script, SCRIPTS, WAYS_OF_SCRIPTS),
    "message": Target(codec.check_message),
    "payload": Target(codec.check_payload),
    "id": Target(codec.check_id),
    "answer": Target(codec.check_damaged_answer),
    "chunking": Target(codec.check_chunking),
    "memory": Target(codec.check_memory),
}
