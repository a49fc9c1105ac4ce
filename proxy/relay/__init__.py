"""The relay: a state machine without I/O between client sessions and server links.

It is told "this line came from that peer, it is now t" and puts lines into the peers' outboxes; it knows no loop and
no clock. Whoever drives it (`proxy.pump`) carries the outboxes away and calls `tick` when `wake_at` has come.
"""

from .peers import Link, Peer, Session
from .relay import Relay
from .target import Target

__all__ = ["Link", "Peer", "Relay", "Session", "Target"]
