"""Text that cannot steer a terminal: ids, labels and names come from files that anybody may have written."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return `text` with its control characters, except tabs and line ends, written out as `\\x1b`."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def printable_json(text: str) -> str:
    """Return JSON, which has escapes for most control characters already, with escapes for the others, too."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
