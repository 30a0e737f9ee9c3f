"""What a prompt file says of itself, and the schema that every header read from a file must fit as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from mpdd.backbone.template import Template
from mpdd.data.task import FORMS, TaskCard, TaskType
from mpdd.data.types.choice import are_distinct

FORMAT = 1
Kind = Literal["soft", "meta", "task"]
_DEEPEST = 50  # levels of lists and objects in a header
_NOT_WRITTEN_EMPTY = ("derived_from_examples", "licence", "score", "training")  # unknown to earlier versions


@dataclass(frozen=True)
class Header:
    """What a prompt file says of itself. `digest` covers all other fields and every tensor.

    With `depth` all there are rows before every layer, and `width` is that of all layers together.

    `template` is what stood around inputs when it was trained; None in files of an older version, which had none.
    `kinds` are those of the answers of a metaprompt's tasks, in the same order (none in files of an older version).
    `derived_from_examples` says how many examples of the task's data the rows were made of directly (`mpdd.prompts.examples`);
    0, which is not written, for prompts that were only trained.
    `privacy` has the guarantee of differential privacy that its training kept (`mpdd.training.private`); empty: none.
    `calibration` has the `slope` and `shift` of the scale of confidences, and how many `units` of dev it was fitted on.
    `priors` has the shifts of log-odds that answers are decoded with (`none`, `stop`, `classes`), and how many dev `examples`
    they were fitted on; empty, as in files of an older version: none.
    `licence` is that of the data that a prompt of a pack was trained on; `score` its score on the task's test split:
    `metric`, `value` with its 95 % interval from `low` to `high`, `baseline` (what an answer without a model scores), and
    how many `examples` were scored out of `test_examples`. `training` says by which `method`, on how many `examples` and
    in how many `steps` it was trained. What is empty of these three is not written.
    """

    kind: Kind
    backbone: str
    fingerprint: str
    length: int
    width: int
    rank: int = 0
    tasks: tuple[str, ...] = ()
    card: TaskCard | None = None
    metaprompt: str = ""
    template: Template | None = None
    depth: Literal["input", "all"] = "input"
    kinds: tuple[str, ...] = ()
    calibration: Mapping[str, float] = field(default_factory=dict)
    privacy: Mapping[str, Any] = field(default_factory=dict)
    priors: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    derived_from_examples: int = 0
    licence: str = ""
    score: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        lists = {"tasks": list(self.tasks), "kinds": list(self.kinds)}
        values = {**asdict(self), **lists, "card": self.card.to_dict() if self.card else None}
        return {name: value for name, value in values.items() if name not in _NOT_WRITTEN_EMPTY or value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Header:
        """Build a header from JSON values that the schema was found to fit."""
        card = TaskCard.from_dict(values["card"]) if values.get("card") else None
        template = Template(**values["template"]) if values.get("template") else None
        lists = {name: tuple(values.get(name, ())) for name in ("tasks", "kinds")}
        return cls(**{**values, "card": card, "template": template, **lists})

    def shapes(self) -> list[dict[str, tuple[int, ...]]]:
        """The tensors, by name with their shapes, that a file of this kind may hold."""
        rows = (self.length, self.width)
        count = len(self.tasks) if self.kind == "meta" else 1
        factors: dict[str, tuple[int, ...]] = {
            "u": (count, self.rank, self.length),
            "v": (count, self.rank, self.width),
        }
        if self.kind == "soft":
            return [{"rows": rows}]
        whole = {"shared": rows, **factors}
        return [whole] if self.kind == "meta" else [factors, whole]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


_CONTROL = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
_Line = Annotated[str, StringConstraints(max_length=1000, pattern=_CONTROL)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_CONTROL)]
_Text = Annotated[str, StringConstraints(max_length=100_000)]
_Size = Annotated[int, Field(ge=1, le=2**31)]
_Percentage = Annotated[float, Field(ge=0, le=100)]
_Odds = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class _Card(_Schema):
    name: _Name
    type: TaskType
    instruction: _Text
    labels: Annotated[list[_Line], Field(max_length=10_000)] = []
    text_field: _Line = "Text"
    fields: Annotated[list[_Name], Field(max_length=100)] = []
    max_answer_tokens: Annotated[int, Field(ge=1, le=100_000)] = 64
    form: str = ""
    window: _Size | None = None

    @model_validator(mode="after")
    def _can_be_answered(self) -> _Card:
        forms = FORMS.get(self.type, ("",))
        form = self.form or forms[0]
        if form not in forms:
            raise ValueError("the form does not fit the type")
        if form in ("extractive", "free") and self.labels:
            raise ValueError("answers of this form have no labels")
        needs_labels = self.type in ("nli", "classification")
        if (needs_labels or self.labels and form == "choice") and not are_distinct(tuple(self.labels)):
            raise ValueError("the labels are missing or cannot be told apart")
        return self


class _Template(_Schema):
    before: _Text = ""
    after: _Text = ""
    space: bool = True


class _Calibration(_Schema):
    slope: _Odds
    shift: _Odds
    units: Annotated[int, Field(ge=0)]


class _Privacy(_Schema):
    epsilon: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    unit: Literal["example", "document"]
    units: _Size
    sampling_rate: Annotated[float, Field(gt=0, le=1)]
    steps: _Size
    clip: Annotated[float, Field(gt=0, le=1e6)]
    noise_multiplier: Annotated[float, Field(gt=0, le=1e6)]
    accountant: _Line
    noise: _Line
    covers: _Line


class _Priors(_Schema):
    none: _Odds
    stop: _Odds
    classes: Annotated[list[_Odds], Field(max_length=10_000)]
    examples: Annotated[int, Field(ge=0)]


class _Score(_Schema):
    metric: _Name
    value: _Percentage
    low: _Percentage
    high: _Percentage
    baseline: _Percentage
    examples: _Size
    test_examples: _Size


class _Training(_Schema):
    method: _Name
    examples: Annotated[int, Field(ge=0, le=2**31)]
    steps: Annotated[int, Field(ge=0, le=2**31)]


class _Header(_Schema):
    kind: Kind
    backbone: _Line
    fingerprint: _Line
    length: _Size
    width: _Size
    rank: Annotated[int, Field(ge=0, le=2**31)] = 0
    tasks: Annotated[list[_Line], Field(max_length=10_000)] = []
    card: _Card | None = None
    metaprompt: _Line = ""
    template: _Template | None = None
    depth: Literal["input", "all"] = "input"
    kinds: Annotated[list[_Line], Field(max_length=10_000)] = []
    calibration: _Calibration | Annotated[dict[str, Any], Field(max_length=0)] = {}
    privacy: _Privacy | Annotated[dict[str, Any], Field(max_length=0)] = {}
    priors: _Priors | Annotated[dict[str, Any], Field(max_length=0)] = {}
    provenance: dict[str, Any] = {}
    derived_from_examples: Annotated[int, Field(ge=0, le=2**31)] = 0
    licence: _Line = ""
    score: _Score | Annotated[dict[str, Any], Field(max_length=0)] = {}
    training: _Training | Annotated[dict[str, Any], Field(max_length=0)] = {}
    format: int
    digest: _Line

    @model_validator(mode="after")
    def _has_a_rank(self) -> _Header:
        if self.kind != "soft" and not 1 <= self.rank <= min(self.length, self.width):
            raise ValueError("the rank does not fit the length and the width")
        return self

    @model_validator(mode="after")
    def _has_a_prior_for_each_label(self) -> _Header:
        classes = self.priors.classes if isinstance(self.priors, _Priors) else []
        if classes and (self.card is None or len(classes) != len(self.card.labels)):
            raise ValueError("the priors do not fit the labels of the card")
        return self


def problems_of(values: Mapping[str, Any]) -> list[str]:
    """Return what does not fit the schema in a header's JSON values, in words without anything of the values."""
    if problem := _problem_of_form(values):
        return [problem]
    try:
        _Header.model_validate(values)
    except ValidationError as error:
        return list(dict.fromkeys(f"{_place(e['loc'])}: {_words(e['type'], e['msg'])}" for e in error.errors()))
    return []


def _problem_of_form(values: Mapping[str, Any]) -> str:
    """Say why the values cannot be shown or written again, whatever they mean; empty where they can."""
    level: list[Any] = [values]
    for _ in range(_DEEPEST):
        level = [part for value in level for part in _parts(value)]
        if not level:
            break
    else:
        return f"more than {_DEEPEST} levels"
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "half a surrogate pair"
    return ""


def _parts(value: object) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _words(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "a key that this version of mpdd does not know"
    words = message.removeprefix("Value error, ").removeprefix("Input ")
    return f"{words[0].lower()}{words[1:]}"


_KEYS = {name for model in (_Header, _Card, _Template, _Calibration, _Priors, _Score, _Training) for name in model.model_fields}


def _place(place: tuple[int | str, ...]) -> str:
    """Where in the header, by the schema's own names only."""
    names = [str(part) for part in place if part in _KEYS or isinstance(part, int)]
    return ".".join(names) or "header"
