"""An experiment as a value: read from TOML, checked all at once, written back as resolved."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from mpdd.errors import InputError
from mpdd.evaluation.records import former_names
from mpdd.files.toml import Name, Positive, Rate, Rates, Section, Seed, Share, distinct, read_toml, validated
from mpdd.methods.options import Adapt, Decoding, MethodName, PromptOptions, Steps
from mpdd.methods.registry import FROM_METAPROMPT, FROM_SOURCES, LOOKS_AT_EXAMPLES, METHODS, ORIGIN, rates_of


def _count_or_all(value: object) -> object:
    if value != "all" and (not isinstance(value, int) or isinstance(value, bool) or value <= 0):
        raise ValueError('should be a count above 0 or "all"')
    return value


Shots = Annotated[int | Literal["all"], BeforeValidator(_count_or_all)]


class Limits(Section):
    """The most examples a task gives to each use; drawn once, the same for every method and seed.

    `test_from` dev scores targets on dev examples that no choice was made on, so that settings can be compared before any
    test set is looked at.
    """

    train: Positive = 1000
    dev: Positive = 64
    test: Positive = 500
    test_from: Literal["test", "dev"] = "test"


class Teach(Steps):
    """Stage 1; each source takes the rate with the lowest dev loss."""

    lrs: Rates = (0.01,)


class Distil(Steps):
    """Stage 2. `start` takes the mean of the teachers, fresh rows, or a metaprompt of the same sources and shape to go on from
    (its file, .safetensors); weights of the loss parts; rates.

    `top_k`: the teachers' likeliest tokens that are kept once for all steps; 0 asks the teachers at every step.
    `direction` of the KL: forward is KL(teacher || student). `layers`: whose hidden states are compared. `proportion`: tasks
    are drawn in proportion to their number of training examples to this power; 0 draws all alike. `held_out_share`: this share of
    the rows stand under the mean factors of the other sources of their kind, so that these suit a task without examples.
    `examples`: 0 to so many examples of a row's own task stand in front of it, so that the metaprompt learns to use them
    (MetaICL, Min et al. 2022); only without teachers.
    """

    start: Annotated[str, Field(pattern=r"^(teachers|fresh|.+\.safetensors)$")] = "teachers"
    lr_shared: Rate = 0.01
    lr_factors: Rate = 0.01
    kl: Share = 0.9
    hidden: Share = 0.9
    temperature: Rate = 1.0
    stochastic: bool = True
    top_k: Annotated[int, Field(ge=0)] = 32
    direction: Literal["forward", "reverse"] = "forward"
    layers: Literal["all", "last"] = "all"
    proportion: Annotated[float, Field(ge=0, le=1)] = 0.0
    held_out_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    examples: Annotated[int, Field(ge=0)] = 0

    @field_validator("examples")
    @classmethod
    def _has_no_teachers(cls, examples: int, others: ValidationInfo) -> int:
        if examples and (others.data.get("kl") or others.data.get("hidden")):
            raise ValueError("needs kl = 0 and hidden = 0, as teachers read no examples")
        return examples

    @property
    def goes_on(self) -> bool:
        """Whether the start is a metaprompt's file."""
        return self.start not in ("teachers", "fresh")


class Compute(Section):
    """How the frozen backbone is held and computed.

    `dtype`: auto takes bf16 where the hardware multiplies it fast. `quantize`: weights of linear layers in 8 or 4 bits (needs
    the library bitsandbytes). `compile`: faster steps after a slow start. `gradient_checkpointing`: less memory, more
    time. `shard`: where several processes train together, each holds a part of every layer's weights. `context`: the longest
    sequence in tokens, prompt and answer included, where that should be shorter than the backbone's (0: as long as it takes).
    Prompts and optimizers are in fp32 always.
    """

    dtype: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    quantize: Literal["no", "int8", "nf4"] = "no"
    compile: bool = False
    gradient_checkpointing: bool = False
    context: Annotated[int, Field(ge=0)] = 0
    shard: bool = False

    @field_validator("shard")
    @classmethod
    def _is_of_plain_weights(cls, shard: bool, others: ValidationInfo) -> bool:
        if shard and (others.data.get("compile") or others.data.get("quantize", "no") != "no"):
            raise ValueError("layers that are split can be neither quantized nor compiled")
        return shard


class Experiment(Section):
    """Everything that a run depends on.

    For our own method it names `sources` to distil a metaprompt from, or the file of a finished `metaprompt` (then stages
    1 and 2 are left out). Sources and targets are names of the catalogue, or TOML cards of the user's own tasks.
    `rephrase_share`: this share of the sources' training examples are asked otherwise than their card says (a part of the
    labels, other words, fewer options), so that the metaprompt learns to read what it is asked.
    `loss_per` task divides the loss of an answer, a sum over its tokens, by the mean number of answer tokens of its task, which
    is maximum likelihood within a task; example divides by the answer's own tokens, which favours short answers and is kept to
    compare with.
    `choice_loss` t-few adds, at the targets that choose among options, the unlikelihood and the length-normalised loss of T-Few
    (Liu et al. 2022, arXiv 2205.05638); sources are always learned by likelihood.
    `template` chat puts every input into a user's turn of the backbone's chat template (instruction-tuned backbones).
    """

    name: Name
    backbone: str = "embedded"
    template: Literal["plain", "chat"] = "plain"
    compute: Compute = Compute()
    methods: Annotated[tuple[MethodName, ...], Field(min_length=1), AfterValidator(distinct)] = (
        "zero-shot", "prompt-tuning", "lora", "mpdd-zero-shot", "mpdd", "mpdd-full",
    )  # fmt: skip
    metaprompt: str = ""
    sources: Annotated[tuple[str, ...], AfterValidator(distinct), Field(validate_default=True)] = ()
    targets: tuple[str, ...] = Field(min_length=1)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(distinct)] = (0,)
    shots: Annotated[tuple[Shots, ...], Field(min_length=1), AfterValidator(distinct)] = ("all",)
    rephrase_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    loss_per: Literal["task", "example"] = "task"
    choice_loss: Literal["likelihood", "t-few"] = "likelihood"
    limits: Limits = Limits()
    prompt: PromptOptions = PromptOptions()
    teach: Teach = Teach()
    distil: Distil = Distil()
    adapt: Adapt = Adapt()
    decoding: Decoding = Decoding()

    @field_validator("methods")
    @classmethod
    def _leave_split_weights_alone(cls, methods: tuple[MethodName, ...], others: ValidationInfo) -> tuple[MethodName, ...]:
        if any(METHODS[name].trains == "backbone" for name in methods) and others.data.get("compute", Compute()).shard:
            raise ValueError("full-finetuning cannot train a backbone that is split (compute.shard)")
        return methods

    @field_validator("sources")
    @classmethod
    def _are_the_origin(cls, sources: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        """The metaprompt comes from sources, or from a file; without our method there is none."""
        methods, finished = others.data.get("methods", ("mpdd",)), others.data.get("metaprompt")
        if finished and sources:
            raise ValueError("given beside a finished metaprompt, wanted one of the two")
        if finished and (needing := [name for name in methods if name in FROM_SOURCES]):
            raise ValueError(f"missing, and {', '.join(needing)} {'learn' if len(needing) > 1 else 'learns'} from sources")
        if not finished and not sources and (FROM_SOURCES | FROM_METAPROMPT).intersection(methods):
            raise ValueError("missing")
        return sources

    @field_validator("targets")
    @classmethod
    def _are_held_out(cls, targets: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        if both := [name for name in dict.fromkeys(targets) if name in others.data.get("sources", ())]:
            raise ValueError(f"{', '.join(both)} among the sources too, a target must be held out")
        return distinct(targets)

    @field_validator("distil")
    @classmethod
    def _goes_on_from_the_same(cls, distil: Distil, others: ValidationInfo) -> Distil:
        """What goes on from a metaprompt has its teachers and factors: there is no such start without them."""
        apart = [name for name in ORIGIN if name in others.data.get("methods", ())]
        if distil.goes_on and apart:
            raise ValueError(f"start is a metaprompt, and {', '.join(apart)} must start from nothing of the kind")
        return distil

    @field_validator("adapt")
    @classmethod
    def _is_fair(cls, adapt: Adapt, others: ValidationInfo) -> Adapt:
        methods = others.data.get("methods", cls.model_fields["methods"].default)  # where they are wrong, that is said elsewhere
        depth = others.data.get("prompt", PromptOptions()).depth
        lists = [rates for name in methods if (rates := rates_of(name, depth))]
        trials = {name: len(getattr(adapt, name)) for name in lists}
        if len(set(trials.values())) > 1:
            counts = ", ".join(f"{count} for {name}" for name, count in trials.items())
            raise ValueError(f"every method must try equally many rates, or the comparison is not fair, found {counts}")
        looking = [name for name in methods if name in LOOKS_AT_EXAMPLES]
        if adapt.privacy and (looking or max(trials.values(), default=1) > 1):
            counts = looking[0] if looking else f"{max(trials.values())} rates a method"
            raise ValueError(f"with privacy nothing may be chosen by the data, found {counts}, wanted one rate for each method")
        return adapt


# Keys of earlier versions: the present key in the same table (empty: there is none), and what a user is told.
FORMER: Mapping[str, tuple[str, str]] = {
    "adapt.mode": ("", 'gone; the method "mpdd" trains the factors alone, and "mpdd-full" the shared prompt with them'),
    "adapt.race": ("adapt.halving_steps", "called adapt.halving_steps now"),
    "distil.strange": ("distil.held_out_share", "called distil.held_out_share now"),
    "vary": ("rephrase_share", "called rephrase_share now"),
}


def read(path: Path, changes: Sequence[str] = ()) -> Experiment:
    """Read an experiment file; raise one `InputError` that lists every problem in it.

    Task cards and the metaprompt are found from the folder of the experiment file. `changes` are settings that take the place
    of the file's, as `distil.steps=800`, with the value in TOML; paths in them are found from the working folder, as typed.
    """
    values = _from_folder(read_toml(path, "experiment file"), path.parent)
    for change in changes:
        _put(values, change)
    return build(values, path.name)


def _put(values: dict[str, Any], change: str) -> None:
    """Put a setting KEY=VALUE into nested tables, where VALUE is TOML, or else a plain word."""
    name, equals, text = change.partition("=")
    *tables, key = name.strip().split(".")
    if not equals or not all((*tables, key)):
        raise InputError("A setting is not understood", found=change, wanted="KEY=VALUE, as distil.steps=800")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except (ValueError, RecursionError):  # thousands of digits, or of brackets
        shown = f"{name.strip()}= and {len(text):,} characters"
        raise InputError("A setting cannot be read", found=shown, wanted="KEY=VALUE, as distil.steps=800") from None
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise InputError("A setting is not understood", found=change, wanted=f"a key under a table, and {table} is none")
    values[key] = value


def _from_folder(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values of an experiment file with its paths taken from `folder`; names of the catalogue stay, and wrong types too."""

    def path(value: Any, suffix: str = "") -> Any:
        return str(folder / value) if isinstance(value, str) and value and value.endswith(suffix) else value

    def paths(names: Any) -> Any:
        return [path(name, ".toml") for name in names] if isinstance(names, list) else names

    resolved = {name: paths(value) if name in ("sources", "targets") else value for name, value in values.items()}
    if "metaprompt" in resolved:
        resolved["metaprompt"] = path(resolved["metaprompt"])
    if isinstance(distil := resolved.get("distil"), dict) and "start" in distil:
        resolved["distil"] = {**distil, "start": path(distil["start"], ".safetensors")}
    return resolved


def read_written(path: Path) -> Experiment:
    """Read the `config.toml` of a run, also of an earlier version: `FORMER` keys and names of methods are read as the present
    ones, and from before `loss_per` was a key, it is what runs did then.
    """
    values = {"loss_per": "example"} | read_toml(path, "configuration")
    names = former_names(path.parent)
    if "methods" in values:
        values["methods"] = list(dict.fromkeys(names.get(name, name) for name in values["methods"]))
    for former, (present, _) in FORMER.items():
        _move(values, former, present)
    return build(values, str(path))


def _move(values: dict[str, Any], former: str, present: str) -> None:
    """Put the value of a former key, where there is one, under the present one; under none where that is empty."""
    *tables, key = former.split(".")
    section = values.get(tables[0]) if tables else values
    if isinstance(section, dict) and key in section:
        value = section.pop(key)
        if present:
            section[present.split(".")[-1]] = value


def _refuse_former(values: Mapping[str, Any], where: str) -> None:
    """Raise `InputError` for keys of earlier versions, which names the present ones."""
    former_keys = []
    for former, (_, advice) in FORMER.items():
        *tables, key = former.split(".")
        section = values.get(tables[0]) if tables else values
        if isinstance(section, Mapping) and key in section:
            former_keys.append(f"{former}: {advice}")
    if former_keys:
        raise InputError(f"{where} has keys of an earlier version", found="; ".join(former_keys), next_step="See CHANGELOG.md.")


def build(values: dict[str, Any], where: str) -> Experiment:
    """Build an experiment from plain values; raise one `InputError` that lists every problem."""
    _refuse_former(values, where)
    return validated(Experiment, values, where)


def to_toml(experiment: Experiment) -> str:
    """The experiment as resolved, defaults included."""
    return tomli_w.dumps(experiment.model_dump(mode="json", exclude_none=True))
