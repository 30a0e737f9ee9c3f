"""Loss parts against torch's own and by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from mpdd.data.batch import encode_answer
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.training.losses import cross_entropy, hidden, kl, sum_by_example
from mpdd.training.passes import Row, add_gradients, row_losses
from mpdd.training.tune import Data


def test_each_example_gets_the_sum_over_its_tokens():
    values = torch.tensor([1.0, 3.0, 10.0])
    assert sum_by_example(values, torch.tensor([0, 0, 1])).tolist() == [4.0, 10.0]


def test_cross_entropy_of_single_token_answers_is_torchs():
    logits, targets = torch.randn(5, 7), torch.randint(0, 7, (5,))
    expected = functional.cross_entropy(logits, targets, reduction="none")
    assert torch.allclose(cross_entropy(logits, targets, torch.arange(5)), expected)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_kl_is_the_true_divergence(temperature):
    teacher, student = torch.randn(6, 9), torch.randn(6, 9)
    expected = functional.kl_div(
        (student / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1), log_target=True, reduction="batchmean"
    )
    found = kl(teacher, student, torch.arange(6), temperature)
    assert torch.allclose(found.mean(), expected * temperature**2, atol=1e-6)
    assert kl(teacher, teacher, torch.arange(6), temperature).abs().max() < 1e-6
    assert (found > 0).all()


def test_hidden_distance_is_relative_to_the_teacher_and_layerwise():
    teacher = torch.randn(3, 4, 8)
    rows = torch.arange(4)
    assert (hidden(teacher, teacher, rows) == 0).all()
    assert torch.allclose(hidden(teacher, torch.zeros_like(teacher), rows), torch.ones(4))
    assert torch.allclose(hidden(10 * teacher, 11 * teacher, rows), hidden(teacher, 1.1 * teacher, rows), atol=1e-6)


# T-Few's losses are those of the paper, taken directly from the whole model, and every method of a target can have them.

NLI = TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no", "not said"), fields=("Hypothesis",))
PICKS = TaskCard("picks", "qa", "Choose.", fields=("Question",))
NER = TaskCard("drugs", "ner", "List the drugs.", labels=("Drug",))


def examples(card):
    found = []
    for number in range(3):
        fields = tuple((name, f"fever {number}") for name in card.fields)
        choices = ("aspirin", "none of them", f"{number} two") if card is PICKS else ()
        choice = None if card is NER else number % 3
        found.append(Example(str(number), str(number), f"aspirin and cough {number}", Answer(choice=choice), fields, choices))
    return found


def rows_of(tiny, card, choice_loss="t-few"):
    data = Data.of(tiny, card, examples(card), examples(card)[:1], 4, choice_loss=choice_loss)
    return [Row(encoded, "p") for encoded in data.train], data


def directly(tiny, row, prompt):
    """Equations 1 to 3 of the paper's section 3.2, one sequence at a time."""

    def log_ps(answer):
        ids = torch.tensor([*row.encoded.input_ids, *answer[:-1]])
        logits = tiny.model(inputs_embeds=torch.cat([prompt, tiny.table[ids]])[None]).logits[0, -len(answer) :]
        return logits.log_softmax(-1)[range(len(answer)), list(answer)]

    right, wrong = log_ps(row.encoded.answer_ids), [log_ps(answer) for answer in row.encoded.wrong_answers]
    likelihood = -right.sum() / row.encoded.mean_answer_tokens
    unlikelihood = -sum(torch.log(1 - one.exp()).sum() for one in wrong) / sum(map(len, wrong))
    means = torch.stack([one.mean() for one in (right, *wrong)])
    return likelihood + unlikelihood - torch.log(means[0].exp() / means.exp().sum())


@pytest.fixture
def prompt(tiny):
    return torch.randn(4, tiny.width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("card", [NLI, PICKS], ids=lambda card: card.name)
def test_the_losses_and_their_gradients_are_those_of_the_paper(tiny, prompt, card, packs):
    backbone = replace(tiny, packs=packs)
    rows, data = rows_of(tiny, card)
    assert all(len(row.encoded.wrong_answers) == 2 for row in (*rows, Row(data.dev[0], "p")))
    assert row_losses(backbone, rows, {"p": prompt}).tolist() == pytest.approx(
        [float(directly(tiny, row, prompt)) for row in rows], rel=1e-4
    )
    ours, theirs = (prompt.clone().requires_grad_() for _ in range(2))
    add_gradients(backbone, rows, {"p": ours})
    sum(directly(tiny, row, theirs) for row in rows).backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def test_other_tasks_and_the_likelihood_objective_have_no_wrong_options(tiny, prompt):
    lists, _ = rows_of(tiny, NER)
    assert not any(row.encoded.wrong_answers for row in lists)
    plain, _ = rows_of(tiny, NLI, "likelihood")
    assert not any(row.encoded.wrong_answers for row in plain)
    with_wrong, _ = rows_of(tiny, NLI)
    mixed = [*plain, *with_wrong, *lists]
    apart = [float(row_losses(tiny, [row], {"p": prompt})) for row in mixed]
    assert row_losses(tiny, mixed, {"p": prompt}).tolist() == pytest.approx(apart, rel=1e-4)
    assert all(b > a for a, b in zip(apart[:3], apart[3:6], strict=True))


def test_the_longest_option_has_room_behind_a_long_text(tiny):
    long = replace(examples(NLI)[0], text="fever " * 400)
    (row,) = Data.of(tiny, NLI, [long], [], 4, choice_loss="t-few").train
    longest = max(len(answer) for answer in (row.answer_ids, *row.wrong_answers))
    assert len(row.input_ids) + longest <= tiny.context - 4
    assert {row.answer_ids, *row.wrong_answers} == {encode_answer(tiny.tokenizer, label) for label in NLI.labels}


def test_a_certain_wrong_token_gives_a_finite_loss(tiny):
    from mpdd.data.batch import collate
    from mpdd.training.losses import choice_losses, with_options

    (row, *_), _ = rows_of(tiny, NLI)
    batch = collate([*with_options(row.encoded)], tiny.end)
    logits = torch.zeros(len(batch.targets), tiny.table.shape[0])
    logits[range(len(logits)), batch.targets] = 1e4
    logits.requires_grad_()
    loss = choice_losses(logits, batch, [row.encoded]).sum()
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
