"""Predictions of several source prompts together, without training."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mpdd.data.types import candidates
from mpdd.inference.predict import Prediction, Request, Written, ask, prediction_of, score_options
from mpdd.methods.cell import Cell, Outcome
from mpdd.methods.prompts import fit_to, metaprompt_of, weights_of_losses

MOST = 5  # source prompts that are asked


def sesom(cell: Cell) -> Outcome:
    """An ensemble of source prompts' predictions (SESoM, Peng et al. 2023, arXiv 2210.12587), in a simple form.

    SESoM trains a small attention network on the target's examples, which weighs the sources' outputs anew for each question.
    Here the weights are the same for all questions: a softmax of how well each source's prompt fits the training examples,
    over the `MOST` prompts that fit best. The sources' prompts are those of the metaprompt, where SESoM has prompts that were
    tuned one by one. Answers out of a fixed set get the weighted mean of their probabilities under each prompt; where answers
    are generated, the prompt that fits best answers alone.
    """
    meta = metaprompt_of(cell)
    with torch.no_grad():
        prompts = {task: meta(task).to(cell.backbone.device) for task in meta.tasks}
    losses = fit_to(cell, prompts)
    names = sorted(prompts, key=losses.__getitem__)[:MOST]
    if candidates(cell.task.card, cell.test[0]) is None:
        return Outcome(cell.answer(prompts[names[0]]))
    weights = weights_of_losses(torch.tensor([losses[name] for name in names])).tolist()
    requests = [cell.requests(prompts[name], cell.test) for name in names]
    scores = [score_options(cell.backbone, of_prompt) for of_prompt in requests]
    predictions = []
    for number, request in enumerate(requests[0]):
        probabilities = [weight * torch.tensor(of[number]).softmax(0) for weight, of in zip(weights, scores, strict=True)]
        predictions.append(_prediction(cell, request, torch.stack(probabilities).sum(0)))
        cell.tick(1)
    return Outcome(predictions)


def _prediction(cell: Cell, request: Request, probabilities: Float[Tensor, " options"]) -> Prediction:
    """The likeliest option as `predict` would give it."""
    asked, number = ask(cell.backbone.vocabulary, request), int(probabilities.argmax())
    return prediction_of(request, asked, Written(asked.options[number], float(probabilities[number])))
