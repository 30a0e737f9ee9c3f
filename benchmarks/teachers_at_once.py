"""21 teachers in one process, at once, against one after another and against a single one, by the token.

`python -m benchmarks.teachers_at_once [--steps N] [--rounds N]`, on the embedded backbone and rows of all 21 sources.
"""

from __future__ import annotations

import argparse

from benchmarks import common
from mpdd.data import catalogue
from mpdd.data.batch import Encoded
from mpdd.data.mixture import single as drawn_rows
from mpdd.prompts.soft import from_vocabulary
from mpdd.training.loop import Plan
from mpdd.training.one_task import teach
from mpdd.training.tune import Data


def main() -> None:
    """Measure seconds a token (text and answer tokens, padding not counted)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2, help="steps a round")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    backbone = common.embedded()
    sources = [name for name in catalogue.names() if catalogue.get(name).role == "source"]
    count = args.steps * common.BATCH
    rows = {name: common.real_rows(backbone, [name], min(count, 32)) for name in sources}
    data = {name: Data(found, found[:1]) for name, found in rows.items()}
    starts = {name: from_vocabulary(backbone, common.LENGTH, 0) for name in sources}
    plan = Plan(args.steps, common.BATCH, every=10**9)
    mixed = Data(common.real_rows(backbone, sources, len(sources) * (count // len(sources) + 1)), rows[sources[0]][:1])

    def at_once() -> float:
        trials = teach(backbone, data, starts, plan, lrs=[0.01], seed=0)
        return sum(found[0].fitted.seconds for found in trials.values())

    def one_after_another() -> float:
        return sum(
            teach(backbone, {name: data[name]}, starts, plan, lrs=[0.01], seed=0)[name][0].fitted.seconds for name in sources
        )

    def single() -> float:
        """One teacher on the same mixture of lengths, so that only their number differs."""
        return teach(backbone, {"all": Data(mixed.train, mixed.dev)}, {"all": starts[sources[0]]}, plan, lrs=[0.01], seed=0)[
            "all"
        ][0].fitted.seconds

    times = common.alternate({"at_once": at_once, "one_after_another": one_after_another, "single": single}, args.rounds)
    tokens = {name: sum(map(_tokens, _drawn(found, plan))) for name, found in data.items()}
    every, alone = sum(tokens.values()), sum(map(_tokens, _drawn(mixed, plan)))
    by_token = {
        "at_once": [t / every for t in times["at_once"]],
        "one_after_another": [t / every for t in times["one_after_another"]],
        "single": [t / alone for t in times["single"]],
    }
    common.write(
        "teachers_at_once",
        {
            "teachers": len(sources),
            "batch_a_teacher": common.BATCH,
            "microseconds_a_token": {name: common.spread([1e6 * t for t in found]) for name, found in by_token.items()},
            "at_once_to_single": common.ratio(by_token["at_once"], by_token["single"]),
            "one_after_another_to_at_once": common.ratio(times["one_after_another"], times["at_once"]),
        },
    )


def _drawn(data: Data, plan: Plan) -> list[Encoded]:
    return [row for step in range(plan.steps) for row in drawn_rows(data.train, size=plan.batch_size, step=step, seed=0)]


def _tokens(row: Encoded) -> int:
    return len(row.input_ids) + len(row.answer_ids)


if __name__ == "__main__":
    main()
