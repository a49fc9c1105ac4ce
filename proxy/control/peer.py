"""Who is at the other end of a Unix socket: the user that the kernel names, which nobody can forge."""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final

SUPPORTED: Final = hasattr(socket, "AF_UNIX") and hasattr(os, "geteuid") and sys.platform != "win32"
"""Whether this system has sockets of this kind, and users."""

# macOS and the BSDs: `struct xucred` begins with a version and the effective user. Python names none of the three.
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
_XUCRED: Final = struct.Struct("Ii")
_XUCRED_SIZE: Final = 256
_UCRED: Final = struct.Struct("iII")


def uid_of(peer: socket.socket) -> int | None:
    """The user's number; None where the system does not say, so that nobody is let in."""
    try:
        if sys.platform == "linux":
            _, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        else:
            version, uid = _XUCRED.unpack_from(peer.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_SIZE))
            if version != 0:
                return None
    except (OSError, struct.error):
        return None
    return int(uid)


def is_ours(uid: int | None) -> bool:
    """Whether this is the user that this process belongs to."""
    return SUPPORTED and uid is not None and uid == os.geteuid()
