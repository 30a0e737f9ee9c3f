"""Who may use what: bearer tokens, kept as hashes, each with the tasks it may use."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator

from mpdd.errors import InputError
from mpdd.files.toml import read_toml, validated

EVERY = "*"


@dataclass(frozen=True)
class Caller:
    """A token's name and the tasks that it may use; `EVERY` stands for all."""

    name: str
    tasks: tuple[str, ...]

    def may_use(self, task: str) -> bool:
        """Whether this task is among them."""
        return EVERY in self.tasks or task in self.tasks


def _hash_or_hidden(value: object) -> object:
    """A token put where its hash belongs must not come back in an error."""
    return value if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else "(not shown)"


def _tables_or_hidden(value: object) -> object:
    return [item if isinstance(item, dict) else "(not shown)" for item in value] if isinstance(value, list) else "(not shown)"


class _Token(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, StringConstraints(pattern=r"^[\w.@-]{1,100}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), BeforeValidator(_hash_or_hidden)]
    tasks: Annotated[tuple[str, ...], Field(min_length=1)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    token: Annotated[tuple[_Token, ...], Field(min_length=1), BeforeValidator(_tables_or_hidden)]

    @field_validator("token")
    @classmethod
    def _are_distinct(cls, tokens: tuple[_Token, ...]) -> tuple[_Token, ...]:
        for kind, values in (("name", [t.name for t in tokens]), ("sha256", [t.sha256 for t in tokens])):
            if twice := [str(value)[:12] for value, count in Counter(values).items() if count > 1]:
                raise ValueError(f"{kind} {', '.join(twice)} stands there more than once")
        return tokens


class Tokens:
    """Callers by the sha256 of their tokens."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = tuple((digest.encode(), caller) for digest, caller in callers.items())

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """Read a TOML file of `[[token]]` entries with name, sha256 and tasks.

        Raises one `InputError` with all problems of the file, or where others on the machine may read it.
        """
        values = read_toml(path, "file of tokens")
        if path.stat().st_mode & 0o004:
            raise InputError(
                f"Others on this machine may read {path.name}", wanted="a file for its owner", next_step=f"chmod 600 {path}"
            )
        file = validated(_File, values, path.name)
        return cls({token.sha256: Caller(token.name, token.tasks) for token in file.token})

    def caller(self, presented: str | None) -> Caller | None:
        """Whose token this is; compared with every entry in the same time, whichever fits."""
        text = presented if isinstance(presented, str) else ""  # anything else is nobody's
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest().encode()
        matching = None
        for token_digest, caller in self._callers:
            if hmac.compare_digest(token_digest, digest):
                matching = caller
        return matching if text else None


def new_token() -> tuple[str, str]:
    """A token of 256 random bits, and its sha256."""
    token = secrets.token_urlsafe(32)
    return token, hashlib.sha256(token.encode()).hexdigest()
