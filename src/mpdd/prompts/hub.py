"""Prompts of the Hugging Face hub: `hf://ORG/NAME` wherever a prompt file or a folder of them can be named."""

from __future__ import annotations

from pathlib import Path

from mpdd.backbone.hub_connection import work_offline_if_unreachable
from mpdd.errors import InputError
from mpdd.prompts import signature

HUB = "hf://"  # before the id of a repository on the hub
_WANTED = ("*.safetensors", f"*{signature.SUFFIX}")  # files of a repository that are fetched


def is_on_hub(name: str | Path) -> bool:
    """Say whether a name means a repository on the hub."""
    return isinstance(name, str) and name.startswith(HUB)


def local(name: str | Path) -> Path:
    """Where the prompts of a name lie: a path as it is; of a repository on the hub the folder that it is fetched into.

    A repository is fetched once and kept in the hub's own cache; nothing else goes to the network. `hf://ORG/NAME@REVISION`
    is one of its revisions. Raise `InputError` for a repository that cannot be fetched.
    """
    return _fetched(str(name)) if is_on_hub(name) else Path(name)


def _fetched(name: str) -> Path:
    """The folder with the prompts of a repository: from the hub, or without a network from its cache."""
    from huggingface_hub import snapshot_download

    repository, _, revision = name.removeprefix(HUB).partition("@")
    wanted = list(_WANTED)
    work_offline_if_unreachable()
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted, ignore_patterns="peft/*"))
    except (OSError, ValueError) as error:  # no network, no such repository or no access; an id that is none
        raise InputError(
            f"The prompts {name} cannot be fetched from the Hugging Face hub",
            found=_in_words(error),
            wanted=f"{HUB}ORG/NAME of a repository that you may read, or a folder",
        ) from error


def _in_words(error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such repository, or no access to it"
    if isinstance(error, errors.RevisionNotFoundError):
        return "no such revision"
    if isinstance(error, errors.HFValidationError):
        return "a name that no repository can have"
    return "no connection to the hub, and no copy in its cache"
