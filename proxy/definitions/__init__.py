"""One entry of a server's lists: what of it clients can read, and its edited form.

sound     what clients' models want a member to be
entries   reading and editing an entry: a tool, a prompt, a resource or a resource template
apps      the UI resources that a tool's definition refers to
"""

from .apps import ui_references, with_ui_references
from .entries import DEEPEST, KEYS, edit, is_harmless, read, without_task_support

__all__ = [
    "DEEPEST",
    "KEYS",
    "edit",
    "is_harmless",
    "read",
    "ui_references",
    "with_ui_references",
    "without_task_support",
]
