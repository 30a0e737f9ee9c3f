"""Each row of the table of families in docs/backbones.md is found again, and what users run adapts, predicts and exports."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from mpdd.backbone import vocabulary
from mpdd.data.batch import Encoded, collate
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.inference.predict import Request, predict
from mpdd.prompts.soft import from_random, from_vocabulary
from mpdd.training.forward import forward
from mpdd.training.loop import Plan
from mpdd.training.one_task import teach
from mpdd.training.tune import Data, best
from scripts import update_families
from scripts.families import FAMILIES
from tests.conftest import make_tokenizer

SCALED = {"Gemma": 8.0, "Gemma 3": 8.0, "MedGemma": 8.0, "Gemma 4": 8.0, "MiniCPM3": 12.0, "Falcon-H1": 3.0, "Granite": 1.0}
RUN = ("Gemma 3", "MedGemma", "Gemma 4", "Gemma 4 E", "Granite", "Cohere", "Qwen3.5")
NAMES = [family.title for family in FAMILIES]


@pytest.fixture(scope="module")
def tokenizer():
    """A small one. It has the token that the tokenizer classes of Qwen add where it is missing: real checkpoints have it."""
    return make_tokenizer(end="<|endoftext|>")


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_the_row_of_the_table_is_found_again(family, tokenizer):
    if not family.is_installed:
        pytest.skip(f"this transformers has no {family.title}")
    assert update_families.row_of(family, tokenizer) == update_families.documented()[family.title]


def test_the_table_has_every_family_and_no_wrong_one():
    rows = update_families.documented()
    assert set(NAMES) <= set(rows) and not any("wrong" in row for row in rows.values())
    assert all("not in transformers" not in rows[name] for name in RUN)


@pytest.mark.parametrize("title", [*RUN, "Gemma 2", "Falcon-H1", "MiniCPM3"])
def test_logits_are_those_that_the_model_gives(built, title):
    backbone = built(title)
    ids = torch.tensor([[5, 9, 30, 7, 12, 40, 41, 8, 22]])
    with torch.no_grad():
        wanted = backbone.model(input_ids=ids).logits[0, :-1]
        row = tuple(ids[0].tolist())
        found = forward(backbone, collate([Encoded("a", row[:1], row[1:])], backbone.end), None).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("title", "scale"), SCALED.items())
def test_rows_are_what_the_embedding_layer_gives(built, title, scale):
    backbone = built(title)
    alone = vocabulary.load(backbone.name)
    ids = torch.arange(3, 40)
    torch.testing.assert_close(backbone.embed(ids), scale * backbone.table[ids])
    assert torch.equal(alone.embed(ids), backbone.embed(ids)) and alone.fingerprint == backbone.fingerprint
    started = from_vocabulary(backbone, 6, 0)
    assert all(bool((backbone.embed(torch.arange(len(backbone.tokenizer))) == row).all(1).any()) for row in started)
    drawn = from_random(backbone, 200, 0)
    assert drawn.std().item() == pytest.approx(scale * backbone.table.std().item(), rel=0.1)


@pytest.mark.parametrize("title", RUN)
def test_a_prompt_that_is_trained_makes_its_answer_likelier(built, title):
    backbone = built(title)
    card = TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no"))
    rows = [Example(str(n), str(n), f"fever {n}", Answer(choice=1)) for n in range(4)]
    starts = {"says": from_vocabulary(backbone, 5, 0)}
    data = {"says": Data.of(backbone, card, rows, rows, 5)}
    trials = teach(backbone, data, starts, Plan(10, 4, every=5), lrs=[0.3, 0.01], seed=0)["says"]

    def of_no(prompt):
        answers = predict(backbone, [Request(card, row, prompt) for row in rows])
        return sum(a.confidence if a.output == "no" else 1 - a.confidence for a in answers) / len(rows)

    assert of_no(best(trials).trained().detach()) > of_no(starts["says"])


def test_only_the_text_part_is_read(built):
    backbone = built("MedGemma")
    whole = AutoModelForCausalLM.from_pretrained(backbone.name)
    assert type(backbone.model).__name__ == "Gemma3ForCausalLM" != type(whole).__name__
    assert backbone.parameters < whole.num_parameters()
    assert not any("vision" in name for name, _ in backbone.model.named_parameters())
