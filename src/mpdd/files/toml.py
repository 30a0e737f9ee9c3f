"""TOML files as checked values: experiments, task cards and the like; every problem of a file is named at once."""

from __future__ import annotations

import difflib
import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from mpdd.errors import InputError

Value = TypeVar("Value")
Model = TypeVar("Model", bound=BaseModel)


def distinct(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """The values, where no two are equal; raises `ValueError` else."""
    if twice := [str(v) for v in dict.fromkeys(values) if values.count(v) > 1]:
        raise ValueError(f"{', '.join(twice)} stands there more than once")
    return values


Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Rate = Annotated[float, Field(gt=0, le=10)]
Rates = Annotated[tuple[Rate, ...], Field(min_length=1), AfterValidator(distinct)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^\w[\w. -]*$")]


class Section(BaseModel):
    """A table of a TOML file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """Read a TOML file; raise `InputError` where there is none, `kind` saying what it should be."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(f"There is no such {kind}", found=str(path), wanted="a TOML file") from error
    except OSError as error:
        raise InputError(f"The {kind} {path} cannot be read", found=error.strerror, wanted="a TOML file") from error
    except RecursionError:
        raise InputError(f"{path.name} is not valid TOML", found="arrays or tables nested too deep") from None
    except UnicodeDecodeError as error:
        where, step = f"another encoding (byte {error.start})", "Save it as UTF-8, perhaps with `iconv -f UTF-16 -t UTF-8`."
        raise InputError(f"{path.name} is not UTF-8 text", found=where, wanted="TOML in UTF-8", next_step=step) from None
    except ValueError as error:
        raise InputError(f"{path.name} is not valid TOML", found=str(error).splitlines()[0]) from error


def validated(model: type[Model], values: Mapping[str, Any], where: str, context: Mapping[str, Any] | None = None) -> Model:
    """Build any model of a TOML file; raise one `InputError` that names the file and lists every problem."""
    try:
        return model.model_validate(values, context=dict(context or {}))
    except ValidationError as error:
        problems = [_problem(e, model) for e in _causes(error.errors())]
        raise InputError(f"{where} has {len(problems)} problem{'s' * (len(problems) > 1)}: " + "; ".join(problems)) from error


_SAID = {"missing": "missing", "tuple_type": "should be an array", "model_type": "should be a table"}  # in TOML's words


def _causes(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without those that only follow from others: an array is not too short when its items are unfit."""
    inside = {error["loc"][:depth] for error in errors for depth in range(len(error["loc"]))}
    return [error for error in errors if error["type"] != "too_short" or error["loc"] not in inside]


def _problem(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One problem in words: where, what was wanted and what was found."""
    where = ".".join(map(str, error["loc"]))
    message = _SAID.get(error["type"], error["msg"].removeprefix("Value error, ").replace(" after validation", ""))
    if error["type"] == "extra_forbidden":
        return f"{where}: no such key{_near(error['loc'], model)}"
    if error["type"] == "missing" or error["type"] == "value_error" and not isinstance(error["input"], str | int | float):
        return f"{where}: {message}"
    return f"{where}: {message[0].lower()}{message[1:]}, found {reprlib.repr(error['input'])}"


def _near(place: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """The known keys like the last one of `place`."""
    section: Any = model
    for name in place[:-1]:
        if isinstance(name, str):
            section = section.model_fields[name].annotation
        else:  # an item of an array
            section = next(inner for inner in get_args(section) if hasattr(inner, "model_fields"))
    near = difflib.get_close_matches(str(place[-1]), section.model_fields, n=2)
    return f", perhaps {' or '.join(near)}" if near else ""
