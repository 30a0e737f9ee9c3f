"""The objective is the likelihood of answers: a short answer weighs no more than a long one of the same task."""

from __future__ import annotations

import pytest
import torch

from mpdd.data.task import Answer, Entity, Example, TaskCard
from mpdd.training import baselines
from mpdd.training.loop import Plan
from mpdd.training.losses import cross_entropy
from mpdd.training.passes import Row, add_gradients, row_losses
from mpdd.training.tune import Data

CARD = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",))
TEXT = "aspirin and ibuprofen were given"
LISTED = Answer(entities=(Entity(0, 7, "Drug"), Entity(12, 21, "Drug")))


def examples(answers):
    return [Example(f"e{k}", f"e{k}", TEXT, answer) for k, answer in enumerate(answers)]


def data(backbone, answers, loss_per="task"):
    return Data.of(backbone, CARD, examples(answers), examples(answers), 0, loss_per=loss_per)


def first_token_weights(backbone, rows):
    """How heavy each row's first answer token is: its gradient over what cross-entropy alone gives, 2 (1 - p), where p is the
    probability of the right token."""
    weights = {}

    def losses_of(out, batch, chosen):
        out.logits.retain_grad()
        first = [int((batch.rows < number).sum()) for number in range(len(chosen))]
        weights.update({row.encoded: (out.logits, place) for row, place in zip(chosen, first, strict=True)})
        return {"loss": cross_entropy(out.logits, batch.targets, batch.rows)}

    prompt = torch.zeros(2, backbone.width, requires_grad=True)
    add_gradients(backbone, [Row(row, "p") for row in rows], {"p": prompt}, losses_of)

    def weight(row):
        logits, place = weights[row]
        right = logits[place].softmax(-1)[row.answer_ids[0]]
        return (logits.grad[place].abs().sum() / (2 * (1 - right))).item()

    return [weight(row) for row in rows]


def test_the_first_token_of_a_short_and_a_long_answer_of_a_task_weigh_the_same(tiny):
    short, long = data(tiny, [Answer(), LISTED]).train
    assert len(long.answer_ids) >= 3 * len(short.answer_ids)
    weights = first_token_weights(tiny, [short, long])
    assert weights[0] == pytest.approx(weights[1], rel=1e-4)
    short, long = data(tiny, [Answer(), LISTED], "example").train
    weights = first_token_weights(tiny, [short, long])
    assert weights[0] >= 3 * weights[1]  # the former objective


@pytest.mark.parametrize(("loss_per", "says_none"), [("task", (0.22, 0.28)), ("example", (0.4, 0.8))])
def test_a_model_says_none_as_often_as_its_examples_do(tiny, unchanged, loss_per, says_none):
    rows = data(tiny, [Answer(), LISTED, LISTED, LISTED], loss_per)
    with baselines.whole(tiny) as inside:
        baselines.tune_weights(tiny, rows, inside, Plan(steps=150, batch_size=4, every=150), lr=0.01, seed=0)
        none = rows.train[0]
        (loss,) = row_losses(tiny, [Row(none, "weights")], {"weights": None}).tolist()
    low, high = says_none
    assert low <= torch.tensor(-loss * none.mean_answer_tokens).exp().item() <= high


def test_tasks_with_long_and_with_short_answers_weigh_the_same_in_a_mixed_batch(tiny):
    for answers in ([Answer()] * 2, [LISTED] * 2):
        rows = data(tiny, answers).train
        assert sum(len(row.answer_ids) / row.mean_answer_tokens for row in rows) == pytest.approx(len(rows))
