"""What differs between two configurations: the servers to start, stop and restart, and the settings that changed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .models import Config, Server


class Changes(msgspec.Struct, frozen=True):
    """The way from one configuration to another; true if there is any.

    A disabled server counts as one that is not there. Keys and servers are in the new file's order, `removed` in the
    old one's. `changed` servers are as they are now, and so is what `added` holds.
    `settings` are the places below `proxy`, as the file writes them: `proxy.log.level`. Their values are left out.
    `reordered` says that the servers of both files stand in another order; added ones alone don't make it true.
    """

    removed: tuple[str, ...] = ()
    added: tuple[Server, ...] = ()
    changed: tuple[Server, ...] = ()
    same: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    reordered: bool = False

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.changed or self.settings or self.reordered)


def compare(old: Config, new: Config) -> Changes:
    """What turns `old` into `new`. Variables count with their values, so that a new value of one is a change.

    Left out is what restarts nothing: warnings, and which values the environment gave (`Server.expanded`).
    """
    before, after = _enabled(old), _enabled(new)
    staying = [key for key in after if key in before]
    changed = [key for key in staying if not _alike(before[key], after[key])]
    return Changes(
        removed=tuple(key for key in before if key not in after),
        added=tuple(server for key, server in after.items() if key not in before),
        changed=tuple(after[key] for key in changed),
        same=tuple(key for key in staying if key not in changed),
        settings=tuple(_differences(old.proxy, new.proxy, "proxy")),
        reordered=staying != [key for key in before if key in after],
    )


def _enabled(config: Config) -> dict[str, Server]:
    return {server.key: server for server in config.servers if server.entry.enabled}


def _alike(one: Server, other: Server) -> bool:
    return (one.entry, one.prefix, one.problem) == (other.entry, other.prefix, other.problem)


def _differences(old: msgspec.Struct, new: msgspec.Struct, place: str) -> Iterator[str]:
    for name, key in zip(old.__struct_fields__, old.__struct_encode_fields__, strict=True):
        before, after = getattr(old, name), getattr(new, name)
        here = f"{place}.{key}"
        if isinstance(before, msgspec.Struct) and isinstance(after, msgspec.Struct):
            yield from _differences(before, after, here)
        elif before != after:
            yield here
