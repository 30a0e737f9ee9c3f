"""A header is checked whole: whatever stands in a well-sealed file, it is one sentence or a prompt that works."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mpdd.annotate.notes import Note, answer_notes
from mpdd.cli.show import print_header
from mpdd.data import catalogue
from mpdd.data.task import TaskCard
from mpdd.errors import InputError, MpddError
from mpdd.inference.confidence import Scale
from mpdd.inference.engines.local import Local
from mpdd.prompts.header import Header, problems_of
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import _digest, load_prompt, save_prompt
from mpdd.serving.folder import PromptFolder
from tests.conftest import tries
from tests.serving.test_folder import write

CARD = TaskCard("kinds", "classification", "Which kind?", labels=("a", "b"), form="single", max_answer_tokens=4)


SCORE = {"metric": "macro_f1", "value": 40.0, "low": 30.0, "high": 50.5, "baseline": 20.0, "examples": 9, "test_examples": 9}


def good(tiny):
    """The JSON of a header that is right, with every part filled."""
    return Header(
        "soft", tiny.name, tiny.fingerprint, 2, tiny.width, tasks=("kinds",), card=CARD, template=tiny.template,
        derived_from_examples=8, licence="MIT", score=SCORE, training={"method": "mpdd", "examples": 32, "steps": 60},
        calibration={"slope": 1.2, "shift": -0.3, "units": 9}, provenance={"seed": 0, "of": ["x", {"y": None}]},
    ).to_json()  # fmt: skip


def seal(path, values, tensors):
    """A file whose digest is right, whatever else it holds."""
    described = {**values, "digest": _digest(values, tensors)}
    save_file(tensors, path, metadata={"mpdd": json.dumps(described)})
    return path


def rows(tiny):
    return torch.randn(2, tiny.width, generator=torch.Generator().manual_seed(0))


def use(tiny, path, capsys):
    """Do with a prompt file what the commands and the server do."""
    file = load_prompt(path, tiny)
    print_header(file, as_json=True)
    capsys.readouterr().out.encode()
    if file.header.card is not None:
        fields = dict.fromkeys(file.header.card.fields, "What?")
        list(answer_notes(Local(tiny), [file], [Note("n", "aspirin was given", fields, ("a", "b"))]))


ODD = {
    "fewer than no examples": (("derived_from_examples",), -1),
    "a count of examples in words": (("derived_from_examples",), "eight"),
    "a score above 100": (("score", "value"), 100.5),
    "half a score": (("score",), {"metric": "f1"}),
    "a score of no examples": (("score", "examples"), 0),
    "a licence of two lines": (("licence",), "MIT\nor another"),
    "steps that are a string": (("training", "steps"), "60"),
    "null calibration": (("calibration",), None),
    "half a calibration": (("calibration",), {"units": 3}),
    "NaN in the calibration": (("calibration", "slope"), float("nan")),
    "infinity in the calibration": (("calibration", "shift"), float("inf")),
    "a name that is a list": (("card", "name"), ["kinds"]),
    "a name with a line end": (("card", "name"), "a\nb"),
    "a name with an escape": (("card", "name"), "\x1b[31mred"),
    "an empty name": (("card", "name"), ""),
    "half a surrogate pair in a name": (("card", "name"), "x\ud800"),
    "half a surrogate pair in a label": (("card", "labels"), ["a", "\udfff"]),
    "half a surrogate pair in the instruction": (("card", "instruction"), "\ud800"),
    "half a surrogate pair in the provenance": (("provenance",), {"\ud800": 1}),
    "no labels": (("card", "labels"), []),
    "labels that are numbers": (("card", "labels"), [1, 2]),
    "labels that are one string": (("card", "labels"), "ab"),
    "an unknown type": (("card", "type"), "poetry"),
    "a form of another type": (("card", "form"), "extractive"),
    "no answer tokens": (("card", "max_answer_tokens"), 0),
    "answer tokens that are a string": (("card", "max_answer_tokens"), "4"),
    "a key too many in the card": (("card", "shape"), 1),
    "a card that is a list": (("card",), [1]),
    "a template that is a list": (("template",), ["a"]),
    "a template of numbers": (("template", "before"), 3),
    "tasks that are numbers": (("tasks",), [1]),
    "a length that is true": (("length",), True),
    "a length of 0": (("length",), 0),
    "a length below 0": (("length",), -2),
    "an enormous length": (("length",), 10**300),
    "a width with a fraction": (("width",), 32.0),
    "another depth": (("depth",), "some"),
    "another kind": (("kind",), "hard"),
    "a kind that needs a rank": (("kind",), "task"),
    "a key of a later version": (("later",), 1),
    "a provenance that is a list": (("provenance",), []),
    "a fingerprint that is a number": (("fingerprint",), 1),
}


@pytest.mark.parametrize("case", ODD)
def test_what_does_not_fit_is_one_sentence_that_says_where(tiny, tmp_path, case):
    place, value = ODD[case]
    values = good(tiny)
    assert not problems_of({**values, "digest": ""})
    part = values
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises(InputError, match=r"^The header of the prompt file x.safetensors is damaged; found .+\.") as refused:
        load_prompt(seal(tmp_path / "x.safetensors", values, {"rows": rows(tiny)}))
    message = str(refused.value)
    assert message.isprintable() and message.encode()
    if "surrogate" in case:
        assert "half a surrogate pair" in message
    elif place[-1] in {"name", "labels", "calibration", "template", "tasks", "kind", "depth", "length"}:
        assert str(place[-1]) in message or "rank" in message


@pytest.mark.parametrize("shape", [(), (1,), (2, 2, 2), (0,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int8, torch.bool, torch.bfloat16])
def test_tensors_of_another_shape_or_type_are_refused(tiny, tmp_path, shape, dtype):
    tensor = torch.zeros(shape, dtype=dtype)
    with pytest.raises(InputError, match="do not fit its header"):
        file = tmp_path / "x.safetensors"
        save_file({"rows": tensor}, file, metadata={"mpdd": json.dumps({**good(tiny), "digest": "0"})})
        load_prompt(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(tiny, tmp_path, value):
    bad = rows(tiny)
    bad[1, 3] = value
    with pytest.raises(InputError, match="holds NaN or infinity; found in rows"):
        load_prompt(seal(tmp_path / "x.safetensors", good(tiny), {"rows": bad}))


def test_factors_whose_product_overflows_are_refused(tiny, tmp_path):
    meta = MetaPrompt(torch.full((2, tiny.width), 1e30), ["kinds"])
    with torch.no_grad():
        meta.u.fill_(1e30)
    values = {**good(tiny), "kind": "task", "rank": 1, "metaprompt": "0"}
    tensors = {"shared": meta.shared.detach(), "u": meta.u.detach(), "v": meta.v.detach()}
    with pytest.raises(InputError, match="is not finite"):
        load_prompt(seal(tmp_path / "x.safetensors", values, tensors)).rows()


def test_factors_of_another_length_than_their_metaprompt_are_refused(tiny, tmp_path):
    meta = MetaPrompt(torch.randn(3, tiny.width), ["a"])
    header = Header("meta", tiny.name, tiny.fingerprint, 3, tiny.width, 1, ("a",))
    made = save_prompt(tmp_path / "m.safetensors", {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)
    values = {**good(tiny), "kind": "task", "rank": 1, "metaprompt": made.header.digest}
    factors = {"u": torch.ones(1, 1, 2), "v": torch.ones(1, 1, tiny.width)}
    with pytest.raises(InputError, match="does not fit its metaprompt"):
        load_prompt(seal(tmp_path / "x.safetensors", values, factors)).rows()


def test_a_prompt_of_another_width_is_refused(tiny, tmp_path):
    for width, depth in ((8, "input"), (8, "all"), (2 * tiny.width, "input")):
        values = {**good(tiny), "width": width, "depth": depth}
        with pytest.raises(InputError, match=f"does not fit its backbone; found width {width}"):
            load_prompt(seal(tmp_path / "x.safetensors", values, {"rows": torch.zeros(2, width)}), tiny)


@pytest.mark.parametrize("name", catalogue.names())
def test_every_card_of_the_catalogue_fits(tiny, name):
    header = Header("soft", "b", "f", 2, 3, tasks=(name,), card=catalogue.get(name).card)
    assert problems_of(json.loads(json.dumps(header.to_json()))) == []


@given(raw=st.floats(0, 1), slope=st.floats(-1e6, 1e6), shift=st.floats(-1e6, 1e6))
def test_every_calibration_that_the_schema_takes_gives_a_probability(raw, slope, shift):
    assert 0 <= Scale(slope, shift)(raw) <= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats() | st.text(max_size=8) | st.just("\ud800") | st.just("soft"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changed(draw, values):
    """A header with one to three of its parts replaced, removed or added."""
    values = copy.deepcopy(values)
    for _ in range(draw(st.integers(1, 3))):
        part = draw(st.sampled_from([p for p in (values, values.get("card"), values.get("template")) if isinstance(p, dict)]))
        key = draw(st.sampled_from(sorted(part)) if part else st.just("x"))
        action = draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove":
            part.pop(key, None)
        else:
            part[key if action == "replace" else draw(st.text(max_size=6))] = draw(JSON)
    return values


@settings(max_examples=tries(80), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_header_is_refused_in_one_sentence_or_works_and_others_are_served(tiny, tmp_path_factory, capsys, data):
    folder = tmp_path_factory.mktemp("prompts")
    write(folder, tiny, "drugs")
    path = seal(folder / "odd.safetensors", data.draw(changed(good(tiny))), {"rows": rows(tiny)})
    listing = PromptFolder(folder, tiny.vocabulary).look()
    assert "drugs" in listing.tasks
    try:
        use(tiny, path, capsys)
    except MpddError as error:
        assert str(error).encode() and "\n" not in str(error)
    else:
        assert "odd.safetensors" not in listing.problems
