"""The catalogue's tasks, one short module each, exporting `TASK`; nothing else names a task."""

import pkgutil
from functools import cache


@cache
def names() -> tuple[str, ...]:
    """Return the names of all tasks, sorted; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))
