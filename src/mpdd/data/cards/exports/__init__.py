"""The exports of annotation tools, by the name of their format, in the order in which they are looked for.

Every module here but `base` has some, as `EXPORTS`: a new file is all that a new tool takes.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType

from mpdd.data.cards.exports.base import Export
from mpdd.data.readers.base import Record


def exports_in(package: str, path: Sequence[str]) -> dict[str, Export]:
    """The exports in the modules of a package, in their order."""
    names = [module.name for module in pkgutil.iter_modules(path) if module.name != "base"]
    modules: list[ModuleType] = [import_module(f"{package}.{name}") for name in names]
    exports = sorted((export for module in modules for export in module.EXPORTS), key=lambda export: export.place)
    return {export.name: export for export in exports}


EXPORTS: Mapping[str, Export] = exports_in(__name__, __path__)


def recognised(records: Sequence[Record]) -> str:
    """Return the name of the export that these records are; "" for a plain table."""
    return next((name for name, export in EXPORTS.items() if export.is_in(records)), "") if records else ""
