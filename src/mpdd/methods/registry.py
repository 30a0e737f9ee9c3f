"""Every method of the comparison by its contract name: the same rows, the same steps, equally many rates tried.

A method is a value in a module of `mpdd.methods.catalogue`, and nothing else names it.
"""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from mpdd.methods import catalogue
from mpdd.methods.method import Method

RENAMED = {"mpdd-factors": "mpdd"}  # names of earlier versions


def methods_in(package: ModuleType) -> dict[str, Method]:
    """The methods in the modules of a package, in the order of tables; `ValueError` for two of one name or place."""
    modules = [import_module(f"{package.__name__}.{module.name}") for module in pkgutil.iter_modules(package.__path__)]
    methods = sorted((method for module in modules for method in module.METHODS), key=lambda method: method.place)
    if len({method.name for method in methods}) < len(methods) or len({method.place for method in methods}) < len(methods):
        raise ValueError("two methods have one name or one place")
    return {method.name: method for method in methods}


METHODS: Mapping[str, Method] = methods_in(catalogue)
ALONE = frozenset(name for name, method in METHODS.items() if method.starts_from == "nothing")
WITHOUT_EXAMPLES = frozenset(name for name, method in METHODS.items() if not method.uses_examples)  # one cell for all draws
UNTRAINED = frozenset(name for name, method in METHODS.items() if method.trains == "nothing")
IN_THE_WEIGHTS = frozenset(name for name, method in METHODS.items() if method.trains in ("adapter", "backbone"))
LOOKS_AT_EXAMPLES = frozenset(name for name, method in METHODS.items() if not method.can_be_private)
# Those that start from an adapter trained on the sources, with the list of `adapt` that has its rates.
MULTITASK: Mapping[str, str] = {n: m.rates for n, m in METHODS.items() if m.starts_from in ("lora-of-sources", "ia3-of-sources")}
# The prompt file that a method starts from, where it is not `metaprompt`.
ORIGIN: Mapping[str, str] = {
    name: method.starts_from for name, method in METHODS.items() if method.starts_from.startswith("metaprompt-")
}
# Those for which a finished metaprompt is not enough, and those that need a metaprompt of some kind.
FROM_SOURCES = frozenset({*MULTITASK, *ORIGIN, *(name for name, method in METHODS.items() if method.starts_from == "teachers")})
FROM_METAPROMPT = frozenset(name for name, method in METHODS.items() if method.starts_from == "metaprompt")


def rates_of(method: str, depth: str) -> str | None:
    """The list of `adapt` with the rates that a method tries; None for what is not trained.

    Whole prompts that start from the sources' are as deep as the metaprompt, and deep ones have rates of their own.
    """
    chosen = METHODS[method]
    return (depth == "all" and chosen.rates_if_deep) or chosen.rates or None


def checked_name(name: str) -> str:
    """The name of a method; `ValueError` that says what to write for any other."""
    if name in RENAMED:
        raise ValueError(f"{name} is called {RENAMED[name]} since the two forms of mpdd have names of their own")
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        raise ValueError(f"should be one of {', '.join(METHODS)}" + "".join(f", perhaps {other}" for other in near))
    return name
