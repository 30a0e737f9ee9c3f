"""The record of an audit (`mpdd.experiment.audit`) as one page of plain words for a privacy officer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mpdd.evaluation.canaries import BY_CHANCE

_GUESSING = 0.5  # the area under the curve of an attack that guesses


def page(record: Mapping[str, Any]) -> str:
    """The whole page: what was attacked, what was seen beside the baseline, and what that does not show."""
    sections = (_asked(record), _membership(record), _canaries(record), _extraction(record), _promise(record), _summary(record))
    return "\n\n".join("\n".join(lines) for section in sections if (lines := list(section)))


def _asked(record: Mapping[str, Any]) -> Iterator[str]:
    yield f"Privacy audit of {record['prompt']} (task {record['task']}, backbone {record['backbone']})"
    yield (
        f"{record['training_examples']} training notes against {record['fresh_examples']} fresh ones of the test split, which "
        "the prompt was not trained on."
    )
    yield "The attacker has the prompt file, the backbone, and whole notes with their right answers."


def _membership(record: Mapping[str, Any]) -> Iterator[str]:
    yield "1. Can training notes be told from fresh ones?"
    yield f"   (reference: {record['reference']}; brackets: 95 % intervals)"
    alarms = 100 * record["false_alarms"]
    for attack in record["attacks"]:
        yield (
            f"   By {attack['name']}: area under the curve {_interval(attack, 'auc')} ({_GUESSING} is guessing, 1 certainty); "
            f"{100 * attack['tpr']:.0f} % [{100 * attack['tpr_low']:.0f}, {100 * attack['tpr_high']:.0f}] of the training notes "
            f"are recognised where {alarms:.0f} % of the fresh ones are mistaken for such."
        )
    if "shadows" not in record:
        yield "   The strongest attack known, with shadow prompts, was not made: --shadows 8 makes it, and adapts 8 times."


def _canaries(record: Mapping[str, Any]) -> Iterator[str]:
    yield "2. Does the prompt memorise single examples?"
    if "canaries" not in record:
        yield "   Not tested: --canaries 8 adapts once more, beside 8 invented examples, and tells."
        return
    inserted, never = record["canaries"]["inserted"], record["canaries"]["never_seen"]
    yield (
        f"   {inserted['canaries']} invented examples with a random code ({record['canaries']['format']}: L a letter, D a digit) "
        f"stood among the training notes of a fresh adaptation with the same settings. Each is ranked by its loss among "
        f"{inserted['candidates']} others with codes that were never seen."
    )
    yield (
        f"   Exposure of what was inserted: {_bits(inserted)}; the largest {inserted['largest']:.1f}, {inserted['first']} in "
        "first place."
    )
    yield (
        f"   The same under the audited prompt, which never saw them: {_bits(never)}. By chance alone it is {BY_CHANCE}, and "
        f"{inserted['most']:.0f} at most."
    )


def _extraction(record: Mapping[str, Any]) -> Iterator[str]:
    runs = record["extraction"]
    training, fresh = runs["training"], runs["fresh"]
    yield "3. Does it write out notes?"
    if not training["attempts"] or not fresh["attempts"]:
        yield "   Not tested: the notes are too short to be begun."
        return
    yield (
        f"   The beginnings of {training['attempts']} training notes and {fresh['attempts']} fresh ones were given, and "
        f"{runs['written_tokens']} tokens written behind each."
    )
    yield (
        f"   Longest run of words of the note's own rest: {_run(training, 'rest')} of training notes, {_run(fresh, 'rest')} of "
        "fresh ones."
    )
    yield (
        f"   Longest run that stands in the nearest note: {_run(training, 'nearest')} in training notes, "
        f"{_run(fresh, 'nearest')} in fresh ones."
    )


def _promise(record: Mapping[str, Any]) -> Iterator[str]:
    yield "4. What is promised?"
    if record["privacy"]:
        yield (
            "   It was trained with differential privacy: epsilon {epsilon:.2f}, delta {delta:g}, for each {unit}; no attack can "
            "do better than that allows."
        ).format(**record["privacy"])
    else:
        yield "   It was trained without differential privacy; `mpdd adapt CARD.toml --epsilon E` bounds what can be told."


def _summary(record: Mapping[str, Any]) -> Iterator[str]:
    findings = [*_told_apart(record["attacks"]), *_memorised(record.get("canaries", {})), *_written_out(record["extraction"])]
    yield "In short: " + ("; ".join(findings) if findings else "no attack here did better than chance can explain") + "."
    yield "An attack that finds nothing proves nothing: others may do better, and only a promise (4) bounds them all."


def _told_apart(attacks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = [attack["name"] for attack in attacks if attack["auc_low"] > _GUESSING]
    if names:
        yield f"training notes can be told from fresh ones (by {', '.join(names)})"


def _memorised(exposures: Mapping[str, Any]) -> Iterator[str]:
    if exposures and exposures["inserted"]["low"] > max(BY_CHANCE, exposures["never_seen"]["high"]):
        yield "single examples leave a trace in the prompt"


def _written_out(runs: Mapping[str, Any]) -> Iterator[str]:
    if runs["training"]["rest_most"] > 2 * max(4, runs["fresh"]["rest_most"]):
        yield "training notes are written out in part"


def _interval(attack: Mapping[str, Any], name: str) -> str:
    return f"{attack[name]:.2f} [{attack[f'{name}_low']:.2f}, {attack[f'{name}_high']:.2f}]"


def _bits(exposure: Mapping[str, Any]) -> str:
    return f"{exposure['mean']:.1f} bits [{exposure['low']:.1f}, {exposure['high']:.1f}]"


def _run(part: Mapping[str, Any], name: str) -> str:
    return f"{part[name]:.1f} words on average, {part[f'{name}_most']} at most,"
