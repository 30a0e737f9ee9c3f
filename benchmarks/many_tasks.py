"""What the 31st task costs: a stream that mixes 31 tasks against the same stream under one, against PEFT task after task, and
what adding a task to a running server takes.

`python -m benchmarks.many_tasks [--examples N] [--rounds N]`, on the embedded backbone in bf16. The stream holds real test
examples of all 31 tasks of the suite; under one task the very same inputs get one and the same prompt, and both write as
much. PEFT gets the tasks that generate, each with its own prompt, one example at a time, as its batches give other answers
(see mixed_prediction).
"""

from __future__ import annotations

import argparse
import ctypes
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks import common
from benchmarks.mixed_prediction import ours, peft
from mpdd.backbone.model import Backbone
from mpdd.data import catalogue
from mpdd.data.mixture import few_shot
from mpdd.data.task import Example, TaskCard
from mpdd.data.types import candidates
from mpdd.inference.predict import Request, predict
from mpdd.inference.prompt_cache import PromptCache
from mpdd.prompts.soft import from_vocabulary
from mpdd.prompts.store import Header, save_prompt
from mpdd.serving.folder import PromptFolder

ADDED = 200  # tasks added to a folder that is being served, one after another
SERVED_LENGTH = 15  # virtual tokens of their prompts, as many as the demo's have


class Unending(Backbone):
    """A backbone that never ends an answer, so that both streams write equally many tokens whatever their prompts say."""

    @property
    def end(self) -> int:
        """The token of padding, which is never written."""
        return int(self.tokenizer.pad_token_id)


def main() -> None:
    """Measure all three, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=4, help="of each task, in the streams of 31 tasks and of one")
    parser.add_argument("--generating", type=int, default=16, help="of each task that generates, for PEFT and ours beside it")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    backbone = common.embedded()
    cards = {name: catalogue.get(name).card for name in catalogue.names() if catalogue.get(name).role != "spare"}
    added = adding(backbone, next(iter(cards.values())))
    drawn = {name: few_shot(catalogue.load(name).test, max(args.examples, args.generating), 0) for name in cards}
    asked = {name: found[: args.examples] for name, found in drawn.items()}
    prompts = {name: from_vocabulary(backbone, common.LENGTH, seed).to(backbone.table) for seed, name in enumerate(cards)}
    one = dict.fromkeys(cards, prompts["bc5cdr_ner"])
    written = [name for name in cards if candidates(cards[name], asked[name][0]) is None]
    fewest = min(len(drawn[name]) for name in written)  # one test set is small
    fewer: dict[str, Any] = {
        "cards": {name: cards[name] for name in written},
        "asked": {name: drawn[name][:fewest] for name in written},
    }
    mixed = partial(stream, Unending(**vars(backbone)), cards, asked)
    times = common.alternate(
        {
            "31_tasks": lambda: common.seconds(lambda: mixed(prompts)),
            "1_task": lambda: common.seconds(lambda: mixed(one)),
            "ours_generating": lambda: common.seconds(lambda: ours(backbone, fewer["cards"], fewer["asked"], prompts)),
            "peft_generating": lambda: common.seconds(lambda: peft(1, backbone, fewer["cards"], fewer["asked"], prompts)),
        },
        args.rounds,
    )
    common.write(
        "many_tasks",
        {
            "tasks": len(cards),
            "examples": sum(map(len, asked.values())),
            "prompt": common.LENGTH,
            "tokens_written": {"31_tasks": mixed(prompts), "1_task": mixed(one)},
            "seconds": {name: common.spread(found) for name, found in times.items()},
            "throughput_of_31_tasks_to_1": common.ratio(times["1_task"], times["31_tasks"]),
            "generating_tasks": len(written),
            "generating_examples": sum(map(len, fewer["asked"].values())),
            "speed_ratio_to_peft": common.ratio(times["peft_generating"], times["ours_generating"]),
            "adding_a_task": added,
        },
    )


def stream(
    backbone: Backbone, cards: Mapping[str, TaskCard], asked: Mapping[str, Sequence[Example]], prompts: Mapping[str, Tensor]
) -> int:
    """One example of each task after another; returns how many tokens were written."""
    count = min(map(len, asked.values()))
    requests = [Request(cards[name], asked[name][i], prompts[name]) for i in range(count) for name in cards]
    return sum(len(prediction.tokens) for prediction in predict(backbone, requests))


def adding(backbone: Backbone, card: TaskCard) -> dict[str, Any]:
    """Milliseconds until a new file is served and its prompt read, and bytes of memory that it takes, over many files."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place)
        folder, cache = PromptFolder(path, backbone.vocabulary), PromptCache(backbone)
        times, before = [], 0
        for number in range(ADDED):
            named = TaskCard.from_dict({**card.to_dict(), "name": f"{card.name}-{number}"})
            header = Header(
                "soft", backbone.name, backbone.fingerprint, SERVED_LENGTH, backbone.width, tasks=(named.name,), card=named
            )
            rows = from_vocabulary(backbone, SERVED_LENGTH, number).to(backbone.table)
            save_prompt(path / f"{number:03}.safetensors", {"rows": rows}, header)
            began = time.perf_counter()
            cache.of([folder.look().tasks[named.name].rows])
            times.append(1000 * (time.perf_counter() - began))
            if number == ADDED // 2:
                before = _resident()
        grown = (_resident() - before) / (ADDED - ADDED // 2 - 1)
        tensors = [rows, *[part for pair in cache.of([rows])[id(rows)].by_layer.values() for part in pair]]
        assert len(folder.look().tasks) == ADDED
    return {
        "tasks": ADDED,
        "prompt": SERVED_LENGTH,
        "milliseconds": common.spread(times),
        "bytes_resident": round(grown),
        "bytes_of_tensors": sum(t.numel() * t.element_size() for t in tensors),
    }


def _resident() -> int:
    """Bytes, after what was freed went back to the system (where the C library can)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


if __name__ == "__main__":
    main()
