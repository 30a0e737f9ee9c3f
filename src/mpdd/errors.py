"""Errors meant for people: each names the thing, what was found, what was wanted and the next step. And text that cannot
steer a terminal: ids, labels and names come from files that anybody may have written.

Messages never carry note text, only names, ids, counts and offsets.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class MpddError(Exception):
    """A failure that a user can act on; the command line prints it as one sentence."""

    exit_code = 1


class InputError(MpddError):
    """Bad input: a file, a name, a value or a configuration; exit code 2."""

    exit_code = 2

    def __init__(self, what: str, *, found: object = None, wanted: object = None, next_step: str = "") -> None:
        parts = [what.rstrip(".")]
        if found is not None:
            parts.append(f"found {found}")
        if wanted is not None:
            parts.append(f"wanted {wanted}")
        sentence = "; ".join(parts) + "."
        super().__init__(f"{sentence} {next_step}".strip())


def in_words(error: BaseException) -> str:
    """What an error of the system or of a library means to a user, without anything of a file's content."""
    if isinstance(error, UnicodeDecodeError):
        return f"text that is not UTF-8 (byte {error.start})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError) and isinstance(key := (error.args or ("",))[0], str) and key.isidentifier():
        return f"no {key!r}"
    if type(error) in (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError):
        return "values of another kind"
    return "damaged or truncated content"


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not one: `1 note`, `2,000 notes`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def printable(text: str) -> str:
    """Return `text` with its control characters, except tabs and line ends, written out as `\\x1b`."""
    return _CONTROL.sub(lambda control: f"\\x{ord(control[0]):02x}", text)


def printable_json(text: str) -> str:
    """Return JSON, which has escapes for most control characters already, with escapes for the others, too."""
    return _CONTROL.sub(lambda control: f"\\u{ord(control[0]):04x}", text)
