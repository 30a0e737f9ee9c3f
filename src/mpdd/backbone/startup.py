"""A quick start for a process that answers notes: parts of the libraries that it never uses are not loaded.

With its first model transformers loads what training on several devices needs (torch's distributed tensors, accelerate), SciPy
and torch's compiler. It asks its own functions `is_..._available` whether these are there, and does without them where they are
not; here these functions say no while the models are imported. Only torch's compiler is imported without a question, to mark
functions for it and for one class: it has a stand-in here, which loads the real one when that class is used.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

_MODELS = "transformers.modeling_utils"
_COMPILER = "torch._dynamo"
_DECORATORS = ("allow_in_graph", "assume_constant_result", "disable")
_OF_COMPILER, _CLASS = f"{_COMPILER}._trace_wrapped_higher_order_op", "TransformGetItemToIndex"  # for masks by other functions
_UNUSED = (
    "is_accelerate_available",
    "is_scipy_available",
    "is_sklearn_available",
    "is_torch_distributed_available",
    "is_torch_flex_attn_available",
)


@contextmanager
def quick_start() -> Iterator[None]:
    """Import transformers' models as far as a process alone needs them to answer notes, and make a quick start of all within.

    Does nothing where they are imported already, and in a process that `torchrun` started.
    """
    if _MODELS in sys.modules or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        yield
        return
    with _without_garbage_collection(), _compiler_when_used():
        with _said_to_be_missing():
            for name in (_MODELS, "transformers.generation.utils", "transformers.models.auto.modeling_auto"):
                import_module(name)
        yield


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Within, nobody looks for garbage, which takes a fifth of the time of importing; what is there at the end stays for good."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def _said_to_be_missing() -> Iterator[None]:
    """Within, transformers' functions in `_UNUSED` say no to modules that are being imported."""
    places = [import_module(name) for name in ("transformers.utils", "transformers.utils.import_utils")]
    before = [(place, name, getattr(place, name)) for place in places for name in _UNUSED if hasattr(place, name)]
    for place, name, _ in before:
        setattr(place, name, _no)
    try:
        yield
    finally:
        for place, name, function in before:
            setattr(place, name, function)


def _no(*_: Any, **__: Any) -> bool:
    return False


@contextmanager
def _compiler_when_used() -> Iterator[None]:
    """Within, torch's compiler is a stand-in, whose decorators change nothing; whatever else is wanted of it loads the real one,
    and its class `_CLASS` does so when it is called."""
    if _COMPILER in sys.modules:
        yield
        return
    stand_ins = {name: ModuleType(name) for name in (_COMPILER, _OF_COMPILER)}

    def take_away() -> None:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]

    def real(place: str, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        take_away()
        return getattr(import_module(place), name)

    for place, module in stand_ins.items():
        vars(module).update(__path__=[], __getattr__=partial(real, place))
    vars(stand_ins[_COMPILER]).update(dict.fromkeys(_DECORATORS, _unchanged))
    vars(stand_ins[_OF_COMPILER])[_CLASS] = lambda *arguments: real(_OF_COMPILER, _CLASS)(*arguments)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        take_away()


def _unchanged(function: Any = None, *_: Any, **__: Any) -> Any:
    """A decorator, with arguments or without, that gives back what it is given."""
    return _unchanged if function is None else function
