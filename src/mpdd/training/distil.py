"""Stage 2: distil the teachers into one metaprompt over mixed-task batches.

L = L_task + weight * (L_KL + L_hidden), MPT (arXiv 2303.02861), section 3.2; the parts are logged one by one.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.batch import Batch, Encoded, behind, fitting, shown
from mpdd.data.mixture import mixed
from mpdd.prompts.meta import MetaPrompt
from mpdd.training.forward import Outputs
from mpdd.training.loop import Dev, Fitted, Group, Losses, Plan, fit
from mpdd.training.losses import hidden
from mpdd.training.passes import Parts, Row, add_gradients, answer_losses, own_rows
from mpdd.training.targets import LiveTeachers, Teachers, cached
from mpdd.training.tune import Data, Watch, mean_losses

METAPROMPT = "metaprompt"


@dataclass(frozen=True)
class Weights:
    """Loss weights, the KL's temperature and direction, whose hidden states are compared, and how tasks are drawn.

    Zero for both weights trains without teachers. With `top_k` the teachers are asked once about every row that will be
    drawn, and their k likeliest tokens are kept; with 0 they are asked at every step, and the KL is over the whole vocabulary.
    `held_out_share` is the share of rows that stand under the mean factors of the other sources of their kind in place of
    their own, as a new task does before its first example. `examples` is the most examples of a row's own task that stand in
    front of it (MetaICL, Min et al. 2022, arXiv 2110.15943).
    """

    kl: float = 0.9
    hidden: float = 0.9
    temperature: float = 1.0
    stochastic: bool = True
    top_k: int = 0
    reverse: bool = False
    last_layer: bool = False
    proportion: float = 0.0
    held_out_share: float = 0.0
    examples: int = 0

    @property
    def needs_teachers(self) -> bool:
        """Whether any part compares with the teachers."""
        return self.kl > 0 or self.hidden > 0


def distil(
    backbone: Backbone,
    data: Mapping[str, Data],
    teachers: Mapping[str, Tensor],
    meta: MetaPrompt,
    plan: Plan,
    *,
    lr_shared: float,
    lr_factors: float | None,
    weights: Weights,
    seed: int,
    cache: Path = Path("teachers-cache"),
    kinds: Mapping[str, str] | None = None,
    watch: Watch | None = None,
) -> Fitted:
    """Train `meta` in place on all tasks of `data` at once; `teachers` maps each task to its rows [length, width].

    Without `lr_factors` the factors stay as they are: one prompt for all tasks, without decomposition. `cache` is the folder
    for what the teachers say, with `weights.top_k`. `kinds` names each task's kind of answer, for `weights.held_out_share`.
    """
    watch = watch or Watch()
    pools = {name: part.train for name, part in data.items()}

    def draw(step: int) -> list[Encoded]:
        kind, power = weights.stochastic, weights.proportion
        drawn = mixed(pools, size=plan.batch_size, step=step, seed=seed, stochastic=kind, proportion=power)
        room = backbone.context - len(meta.shared)
        return in_context(backbone, drawn, pools, weights.examples, room, f"examples/{seed}/{step}")

    asked: Teachers = LiveTeachers(backbone, teachers)
    if weights.needs_teachers and weights.top_k:
        rows = [row for step in range(plan.steps) for row in own_rows([Row(encoded, encoded.task) for encoded in draw(step)])]
        k = min(weights.top_k, backbone.table.shape[0] - 1)
        asked = cached(cache, backbone, teachers, rows, k=k, temperature=weights.temperature)
    others = _others(meta.tasks, kinds or {})
    groups = [Group({"shared": meta.shared}, lr_shared)]
    if lr_factors is None:
        meta.u.requires_grad_(False), meta.v.requires_grad_(False)
    else:
        groups.append(Group({"u": meta.u, "v": meta.v}, lr_factors))

    def gradients(step: int, names: Sequence[str]) -> Mapping[str, Losses]:
        drawn, chance = draw(step), random.Random(f"strange/{seed}/{step}")  # a seed's text: another would draw others
        held_out = {i for i in range(len(drawn)) if weights.held_out_share and chance.random() < weights.held_out_share}
        return {name: step_losses(backbone, drawn, asked, meta, weights, others, held_out) for name in names}

    def validate(names: Sequence[str]) -> Mapping[str, Dev]:
        dev = mean_losses(backbone, {task: part.dev for task, part in data.items()}, {task: meta(task) for task in meta.tasks})
        return {name: Dev(sum(dev.values()) / len(dev)) for name in names}

    fitted = fit(
        {METAPROMPT: groups}, gradients, plan, validate=validate, checkpoint=watch.checkpoint, log=watch.log, tick=watch.tick
    )
    return fitted[METAPROMPT]


def in_context(
    backbone: Backbone, rows: Sequence[Encoded], pools: Mapping[str, Sequence[Encoded]], most: int, room: int, key: str
) -> list[Encoded]:
    """The rows with examples of their own task in front of them, 0 to `most`, as many as all fit into `room` tokens.

    How many and which is drawn by `key`, once for each task, so that the rows of a task share what they begin with; none of
    them is among its examples.
    """
    with_examples = list(rows)
    for task in sorted({row.task for row in rows}) if most else ():
        numbers = [number for number, row in enumerate(rows) if row.task == task]
        of_task, chance = {rows[number] for number in numbers}, random.Random(f"{key}/{task}")
        count = chance.randint(0, most)
        drawn = chance.sample(pools[task], min(count + len(of_task), len(pools[task])))
        texts = [shown(backbone.tokenizer, example) for example in drawn if example not in of_task][:count]
        longest = max(len(row.input_ids) + len(row.answer_ids) for row in of_task)
        fits = fitting([len(text) for text in texts], room - longest)
        front = [token for number in fits for token in texts[number]]
        for number in numbers:
            with_examples[number] = behind(front, rows[number])
    return with_examples


def _others(tasks: Sequence[str], kinds: Mapping[str, str]) -> dict[str, list[str]]:
    """For each task the others whose answers are of the same kind; a task without any is left out."""
    same_kind = {task: [t for t in tasks if t != task and kinds.get(t, "") == kinds.get(task, "")] for task in tasks}
    return {task: others for task, others in same_kind.items() if others}


def step_losses(
    backbone: Backbone, drawn: Sequence[Encoded], teachers: Teachers, meta: MetaPrompt, weights: Weights,
    others: Mapping[str, Sequence[str]] | None = None, held_out: Collection[int] = (),
) -> Losses:  # fmt: skip
    """Add the gradient of one mixed batch to `meta`; return the loss and its parts, means over the batch.

    Of the rows numbered `held_out` those whose task has `others` stand under the mean factors of these.
    """

    def losses_of(student: Outputs, batch: Batch, rows: Sequence[Row]) -> Parts:
        task_loss = answer_losses(student, batch, rows)["loss"]
        if not weights.needs_teachers:
            return {"loss": task_loss, "task_loss": task_loss}
        taught = teachers(batch, rows)
        assert student.layers is not None
        divergence = taught.divergence(student.logits, batch.rows, weights.temperature, reverse=weights.reverse)
        first = -1 if weights.last_layer else 0
        distance = hidden(taught.layers[first:], student.layers[first:], batch.rows)
        loss = task_loss + weights.kl * divergence + weights.hidden * distance
        return {"loss": loss, "task_loss": task_loss, "kl": divergence, "hidden": distance}

    rows, prompts = [], {}
    for number, encoded in enumerate(drawn):
        task, other_tasks = encoded.task, (others or {}).get(encoded.task)
        name = f"held out from {task}" if other_tasks and number in held_out else task
        if name not in prompts:
            prompts[name] = meta(task) if name == task else meta.of_others(other_tasks or ())
        rows.append(Row(encoded, name, 1 / len(drawn)))
    parts = add_gradients(backbone, rows, prompts, losses_of, all_layers=weights.needs_teachers)
    return {name: float(values.mean()) for name, values in parts.items()}
