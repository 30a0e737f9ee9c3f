"""Errors meant for people: each names the thing, what was found, what was wanted and the next step.

Messages never carry note text, only names, ids, counts and offsets.
"""

from __future__ import annotations


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
