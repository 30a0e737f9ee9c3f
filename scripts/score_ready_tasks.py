"""Scores the tasks that need no training on test examples of their own data, for `mpdd tasks --ready`.

    python -m scripts.score_ready_tasks smollm2-135m-instruct --examples 0

Sources of the metaprompt are scored; prompts of the pack have their scores in their own headers (`mpdd pack`). Scores stand in
src/mpdd/metaprompts/scores.json, each with the digest of the metaprompt that it is of. What is there already for this metaprompt
and so many examples is not made again, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from mpdd.annotate.annotator import open_backbone
from mpdd.api.scoring import score_examples
from mpdd.backbone.checkpoints.registry import METAPROMPTS, pack_of, packed_tasks
from mpdd.data import catalogue
from mpdd.files import write_atomically
from mpdd.inference.engines import Engine
from mpdd.prompts.ready import ready
from mpdd.prompts.store import PromptFile

SCORES = METAPROMPTS / "scores.json"


def main() -> None:
    """Score every ready task of a backbone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone")
    parser.add_argument("--examples", type=int, default=50, help="test examples of each task, at most; 0 for all")
    parser.add_argument("--tasks", nargs="+", default=[], help="by default all sources")
    given = parser.parse_args()
    engine = open_backbone(given.backbone)
    packed = packed_tasks(pack_of(given.backbone))
    for prompt in ready(given.backbone, given.tasks):
        if prompt.header.tasks[0] not in packed:
            _score(engine, given.backbone, prompt, given.examples)


def _score(engine: Engine, backbone: str, prompt: PromptFile, most: int) -> None:
    """Score one task, unless its score is there, and write it down."""
    (task,) = prompt.header.tasks
    test = catalogue.load(task).test
    examples = test[: most or None]
    earlier = _scores().get(backbone, {}).get(task, {})
    if (earlier.get("metaprompt"), earlier.get("examples")) == (prompt.header.metaprompt, len(examples)):
        return
    found = score_examples(prompt, examples, engine, {})
    scores = _scores()  # read again, as another process may have scored other tasks meanwhile
    scores.setdefault(backbone, {})[task] = {
        "metric": next(iter(found.metrics)),
        "value": round(found.headline.value, 1),
        "low": round(found.headline.low, 1),
        "high": round(found.headline.high, 1),
        "baseline": round(found.baseline, 1),
        "examples": found.examples,
        "test_examples": len(test),
        "metaprompt": prompt.header.metaprompt,
    }
    write_atomically(SCORES, (json.dumps(scores, indent=1, sort_keys=True) + "\n").encode())
    print(f"{backbone} {task}: {found.headline.value:.1f} (without a model {found.baseline:.1f})", flush=True)


def _scores() -> dict[str, dict[str, Any]]:
    """What was scored before, by backbone and task."""
    return json.loads(SCORES.read_text(encoding="utf-8")) if SCORES.exists() else {}


if __name__ == "__main__":
    main()
