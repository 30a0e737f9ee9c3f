"""How a report words things: names and explanations of methods and metrics, and numbers with their units."""

from __future__ import annotations

import math

from mpdd.methods.registry import METHODS

SPACE = "\u00a0"
BREAK = "_\u200b"  # an underscore after which a name may break
TYPE_NAMES = {"ner": "NER", "re": "RE", "qa": "QA", "nli": "NLI", "summarization": "summary", "classification": "classes"}
METRIC_NAMES = {
    "strict_f1": "strict F1",
    "lenient_f1": "lenient F1",
    "accuracy": "accuracy",
    "token_f1": "token F1",
    "exact_match": "exact match",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "rougeL": "ROUGE-L",
}
METRIC_NOTES = {
    "strict_f1": "An entity counts only with its exact boundaries and label, a relation only with its label and both "
    "arguments; precision and recall weigh the same.",
    "lenient_f1": "An entity counts if its label is right and it overlaps one in the gold answer.",
    "accuracy": "Percentage of questions answered as in the gold answer.",
    "token_f1": "Words shared with the gold answer, precision and recall weighing the same; case, punctuation and articles "
    "do not matter.",
    "exact_match": "Percentage of answers that are the gold answer but for case, punctuation and articles; with several "
    "labels for an example, percentage of examples with exactly the gold labels.",
    "macro_f1": "F1 of each label, averaged with every label counting the same, however rare.",
    "micro_f1": "F1 over all labels of all examples together, so that frequent labels count more.",
    "rougeL": "Longest common run of words in order, against the reference summary. It measures wording, not whether a "
    "statement is true.",
}
METHOD_NOTES = {name: method.note for name, method in METHODS.items()}


def metric_name(metric: str) -> str:
    """Return a metric's name as people write it."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def score(value: float) -> str:
    """Write a score, 0 to 100."""
    return f"{value:.1f}"


def signed(value: float) -> str:
    """Write a difference of scores, with its sign."""
    rounded = round(value, 1)
    sign = "\u2212" if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded):.1f}"


def p_value(p: float) -> str:
    """Write a p value."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def interval(low: float, high: float) -> str:
    """Write the ends of an interval; a line does not break inside it."""
    return f"{score(low)}\u2060\u2013\u2060{score(high)}"


def whole(value: float) -> str:
    """Write a count with thousands marked."""
    return f"{round(value):,}"


def parameters(value: int) -> str:
    """Write a number of parameters, in full while it is easy to read."""
    return whole(value) if value < 10_000_000 else short(value)


def short(value: float) -> str:
    """Write a count in three digits or fewer: 950, 77.6 K, 162 M, 8.03 B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size * 0.9995:
            return f"{value / size:.3g}{SPACE}{unit}"
    return f"{value:.3g}"


def percent(fraction: float) -> str:
    """Write a fraction as a percentage with two significant digits."""
    value = 100 * fraction
    if not 0 < value < 99.5:
        return f"{value:.0f}{SPACE}%"
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}{SPACE}%"


def size(value: int) -> str:
    """Write bytes in decimal units."""
    for unit, number in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= number * 0.9995:
            return f"{value / number:.3g}{SPACE}{unit}"
    return f"{value}{SPACE}B"


def duration(seconds: float) -> str:
    """Write seconds in the unit that suits them."""
    for unit, number in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * number:
            return f"{_two_digits(seconds / number)}{SPACE}{unit}"
    return f"{seconds:.0f}{SPACE}s" if seconds >= 1 or seconds == 0 else f"under 1{SPACE}s"


def _two_digits(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else whole(value)


def shots_name(shots: int | str) -> str:
    """Name the amount of training data of a table."""
    if shots == "all":
        return "all training examples"
    return "no training" if shots == 0 else f"{shots} training example{'s' if shots != 1 else ''}"
