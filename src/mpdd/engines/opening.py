"""The engine that options ask for."""

from __future__ import annotations

from mpdd.engines import Engine
from mpdd.errors import InputError, MpddError


def open_engine(backbone: str, url: str, *, patience: float, grounded: bool = False) -> Engine:
    """The backbone in this process; or, with a `url`, the vLLM server there, which is waited for `patience` seconds at most.

    Raises `InputError` for a server that takes no soft prompts or runs another model, and for `grounded` answers of a server.
    """
    if not url:
        from mpdd.backbone import model as backbones
        from mpdd.engines.local import Local

        return Local(backbones.load(backbone), grounded=grounded)
    if grounded:
        raise InputError("A vLLM server writes freely", found="--grounded with --engine", wanted="one of the two")
    try:
        from mpdd.engines.vllm import Vllm
    except ImportError as error:
        raise MpddError("A vLLM server needs one more library; `pip install mpdd[serve]` brings it.") from error
    from mpdd.backbone import vocabulary

    engine = Vllm(url, vocabulary.load(backbone), patience=patience)
    engine.check()
    return engine
