"""Writers of other tools' formats, one module each: adding a module adds a format, named after it (`a_b` is `a-b`)."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Collection
from importlib import import_module
from importlib.util import find_spec

from mpdd.annotate.writers.base import Writer
from mpdd.errors import InputError

_HELPERS = ("base", "bioc", "rows")


def formats() -> tuple[str, ...]:
    """The names of all formats that can be written."""
    return tuple(sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if m.name not in _HELPERS))


def available() -> tuple[str, ...]:
    """The names of the formats that can be written here: of those whose packages are installed."""
    return tuple(name for name in formats() if not (needs := writer(name).needs) or find_spec(needs) is not None)


def writer(name: str, conditions: Collection[str] = ()) -> Writer:
    """The writer of a format, which makes candidates of diagnoses of entities with a label out of `conditions`.

    Raise `InputError`, with a near name, where there is no such format, and for `conditions` of one that knows no diagnoses.
    """
    if name not in formats():
        near = difflib.get_close_matches(name.lower(), formats(), n=1)
        wanted = f"perhaps {near[0]}" if near else f"one of {', '.join(formats())}"
        raise InputError(f"There is no format {name!r} to write", wanted=wanted)
    chosen: Writer = import_module(f"{__name__}.{name.replace('-', '_')}").WRITER
    if not conditions:
        return chosen
    if chosen.with_conditions is None:
        raise InputError("Conditions are written in FHIR only", found=f"the format {name}", wanted="the format fhir")
    return chosen.with_conditions(conditions)
