"""The README.md of a prompt pack: its tasks with their scores, training and licences, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping

from mpdd.prompts.store import PromptFile, task_card

_HEAD = """# Prompt pack for {backbone}
{count} prompts for a frozen language model (fingerprint `{fingerprint}`), made by `mpdd pack`. Neither the language
model nor any data are in this folder.
```
mpdd predict {first} note.txt
mpdd serve --prompts . --backbone {backbone}
```
Scores are on the test split of each task, from 0 to 100, with 95 % intervals over documents; `without` is what an
answer without a model scores. Answers can be wrong: measure a prompt on notes of your own before any use (`mpdd
evaluate`).

| task | type | metric | score | interval | without | test examples | training examples | steps | method | licence |
|---|---|---|---:|---:|---:|---:|---:|---:|---|---|
"""


def page(prompts: Mapping[str, PromptFile], left_out: Mapping[str, str]) -> str:
    """The page for prompts by task, at least one, and for the reasons why others are left out."""
    first = next(iter(prompts.values()))
    head = _HEAD.format(
        backbone=first.header.backbone, count=len(prompts), fingerprint=first.header.fingerprint[:12], first=first.path.name
    )
    lines = [_line(name, prompt) for name, prompt in sorted(prompts.items())]
    return head + "".join(lines) + _without(left_out)


def _line(name: str, prompt: PromptFile) -> str:
    score, training = prompt.header.score, prompt.header.training
    scored = ("not scored", "", "", "", "")
    if score:
        interval, tested = (f"{score['low']:.1f} to {score['high']:.1f}", f"{score['examples']:,} of {score['test_examples']:,}")
        scored = (score["metric"], f"{score['value']:.1f}", interval, f"{score['baseline']:.1f}", tested)
    trained = (f"{training['examples']:,}", f"{training['steps']:,}", training["method"]) if training else ("", "", "")
    cells = (name, task_card(prompt).kind, *scored, *trained, prompt.header.licence)
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |\n"


def _without(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return ""
    lines = (f"- {name}: {reason}\n" for name, reason in sorted(left_out.items()))
    return "\nLeft out, as their data's licence does not allow to publish what was made of it:\n\n" + "".join(lines)
