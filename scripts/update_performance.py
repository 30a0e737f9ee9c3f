"""Writes the tables of docs/performance.md from benchmarks/results: `python -m scripts.update_performance`; `--check` only
compares. `make bench` measures anew and then runs this. What was not measured, or has failed, says so in its row.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.generated_pages import put
from scripts.gpu_tables import shapes

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"
BACKBONES = {"smollm2": "SmolLM2-135M", "embedded": "embedded"}
PEERS = {
    "peft_one_by_one": ("PEFT one by one", 5.0),
    "peft_in_batches": ("PEFT in padded batches of a task", 3.0),
    "transformers_in_batches": ("transformers `generate` in padded batches, tasks mixed", 1.0),
}
NOT_MEASURED = "not measured"


def main() -> int:
    """Update or check the page; exit code 1 when a check finds a difference."""
    old = PAGE.read_text(encoding="utf-8")
    suite, hostile, gpu = (read(name) for name in ("suite", "soak", "gpu"))
    parts = {
        "profiles": profiles(suite),
        "bars": bars(suite, hostile),
        "steps": steps(suite),
        "answers": answers(suite),
        "soak": soak(hostile),
        "shapes": shapes(gpu, conditions({"gpu": gpu})),
    }
    new = old
    for name, lines in parts.items():
        new = put(new, name, lines)
    if "--check" in sys.argv:
        return int(old != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def read(name: str) -> Any:
    """What a benchmark measured; nothing where it never ran."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def profiles(suite: Mapping[str, Any]) -> Iterator[str]:
    """CPU seconds of a cell and of the smaller demo, by part."""
    cases = {"cell": "a cell of prompt tuning on SmolLM2-135M", "demo": "the demo, a quarter of it"}
    times = {title: suite.get(case, {}).get("cpu_seconds", {}) for case, title in cases.items()}
    yield f"| CPU seconds | {' | '.join(cases.values())} |"
    yield "| --- | ---: | ---: |"
    for part in dict.fromkeys(part for taken in times.values() for part in taken):
        cells = (_with_share(taken[part], taken["all"]) if part in taken else NOT_MEASURED for taken in times.values())
        yield f"| {part} | {' | '.join(cells)} |"


def _with_share(seconds: float, whole: float) -> str:
    return f"{seconds:.0f} ({seconds / whole:.0%})"


def bars(suite: Mapping[str, Any], hostile: Mapping[str, Any]) -> Iterator[str]:
    """One row a bar."""
    yield "| what | bar | measured (median, range) | holds |"
    yield "| --- | --- | --- | --- |"
    for name, title in BACKBONES.items():
        yield from _bars_of_steps(suite, name, title)
    cell = suite.get("cell", {}).get("cpu_seconds", {}).get("all")
    yield _single("a cell of prompt tuning on SmolLM2-135M, CPU minutes", 5.0, cell and cell / 60)
    for name, title in BACKBONES.items():
        yield from _bars_of_answers(suite, name, title)
    yield from _other_bars(suite)
    factor = hostile.get("p95_beside_over_alone")
    yield _single("server: p95 of honest clients beside hostile ones / alone", 2.0, factor)
    yield ""
    yield conditions(suite)


def _bars_of_steps(suite: Mapping[str, Any], name: str, title: str) -> Iterator[str]:
    for number_format, bar in (("fp32", 0.6), ("bf16", 0.4)):
        share = suite.get(f"product_{name}", {}).get(number_format, {}).get("share")
        wanted = bar if name == "smollm2" else None
        yield _row(f"{title}: a step of 8 rows, share of the {number_format} product", share, least=wanted, percent=True)
    step = suite.get(f"peft_step_{name}", {})
    equal = step.get("largest_difference_of_losses_fp32")
    note = "" if equal is None else f" (losses differ by {equal:.0e} at most)"
    least = 3.0 if name == "smollm2" else 2.5
    yield _row(f"{title}: a step of 8 rows, PEFT + Trainer / ours{note}", step.get("speed_ratio"), least=least)
    yield _single(f"{title}: peak memory of a step, ours / PEFT + Trainer", 0.6, step.get("memory_ratio"))


def _bars_of_answers(suite: Mapping[str, Any], name: str, title: str) -> Iterator[str]:
    answered = suite.get(f"prediction_{name}", {})
    for peer, (words, bar) in PEERS.items():
        equal = answered.get("equal_in_fp32", {}).get(peer)
        note = "" if equal is None else f" ({equal} of {answered['compared_in_fp32']} answers equal in fp32)"
        yield _row(f"{title}: ten tasks mixed, {words} / ours{note}", answered.get("speed_ratio", {}).get(peer), least=bar)
    beside = suite.get(f"vllm_{name}", {})
    note = f" ({beside['equal']} of {beside['examples']} answers equal in {beside['dtype']})" if "equal" in beside else ""
    yield _row(f"{title}: ten tasks mixed, vLLM on the CPU / ours{note}", beside.get("speed_ratio"), least=1.0)


def _other_bars(suite: Mapping[str, Any]) -> Iterator[str]:
    cold, added, load = (suite.get(name, {}) for name in ("cold_start", "adding_a_task", "serving"))
    yield _row("`mpdd predict` of one note, CPU seconds", cold.get("seconds", {}).get("mpdd predict", {}).get("cpu"), most=5.0)
    yield _row("the same / `import torch` alone", cold.get("to_import_of_torch"))
    yield _row("distillation / plain multitask step", suite.get("distillation", {}).get("kept_to_plain"), most=1.15)
    yield _row("21 teachers at once / one, by the token", suite.get("teachers", {}).get("at_once_to_single"), most=1.15)
    many = suite.get("many_tasks", {}).get("throughput_of_all_tasks_to_one")
    yield _row("throughput of a stream over 31 tasks / over one", many, least=0.95)
    yield _row("adding a task of 15 virtual tokens, ms", added.get("milliseconds"), most=50.0)
    resident = added and max(added["bytes_resident"], added["bytes_of_tensors"]) / 1024
    yield _single("memory of a task of 15 virtual tokens, KiB", 64.0, resident or None)
    statuses = load.get("statuses")
    shown = ", ".join(f"{count:,} of {status}" for status, count in statuses.items()) if statuses else NOT_MEASURED
    good = _holds(all(status in ("200", "429") for status in statuses)) if statuses else ""
    yield f"| server under full load: answers by status | none but 200 and 429 | {shown} | {good} |"
    for what, bar in (("peak_memory", 0.15), ("time", 0.3)):
        measured = suite.get("check", {}).get(what)
        off = measured and measured["predicted"] / measured["measured"] - 1
        shown, good = (f"{off:+.0%}", _holds(abs(off) <= bar)) if measured else (NOT_MEASURED, "")
        yield f"| `mpdd check --rehearse`: {what.replace('_', ' ')} | within {bar:.0%} | {shown} | {good} |"


def steps(suite: Mapping[str, Any]) -> Iterator[str]:
    """Times of steps, ours and the peer's, and the products measured beside them."""
    yield "| backbone | format | tokens a row | ours, s a step | PEFT + Trainer, its fastest variant | its variants on one task |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, title in BACKBONES.items():
        step = suite.get(f"peft_step_{name}", {})
        if "seconds_a_step" in step:
            best = step["speed_ratio"]["against"]
            ours, peer = (_seconds(step["seconds_a_step"][who]) for who in ("ours", best))
            variants = ", ".join(f"{variant} {s:.2f}" for variant, s in step["tuning_seconds_a_step"].items())
            about = f"{title} | {step['dtype']} | {step['tokens_a_row']:.0f}"
            yield f"| {about} | {ours} | {best} {peer} | {variants} |"
    yield ""
    yield "| a step of 8 rows of `bc5cdr_ner` | format | tokens a row | s | product of 2,048 x 2,048 x 2,048, GFLOP/s | share |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, title in BACKBONES.items():
        for number_format in ("fp32", "bf16"):
            if one := suite.get(f"product_{name}", {}).get(number_format):
                product = f"{one['product_operations_a_second'] / 1e9:.0f} | {one['share']['median']:.0%}"
                yield f"| {title} | {number_format} | {one['tokens_a_row']:.0f} | {_seconds(one['seconds'])} | {product} |"


def answers(suite: Mapping[str, Any]) -> Iterator[str]:
    """Notes a CPU second of every way of answering."""
    ways = {"ours": "ours", **{name: words for name, (words, _) in PEERS.items()}}
    yield f"| notes a CPU second | {' | '.join(BACKBONES.values())} |"
    yield "| --- | ---: | ---: |"
    for way, words in ways.items():
        times = (suite.get(f"prediction_{name}", {}).get("seconds_a_request", {}).get(way) for name in BACKBONES)
        yield _rates(words, list(times))
    for way, words in (("ours", "ours, in the run beside vLLM"), ("vllm", "vLLM on the CPU")):
        yield _rates(words, [suite.get(f"vllm_{name}", {}).get("seconds_a_request", {}).get(way) for name in BACKBONES])


def _rates(words: str, times: Sequence[Mapping[str, Any] | None]) -> str:
    cells = (f"{1 / each['median']:.1f}" if each else NOT_MEASURED for each in times)
    return f"| {words} | {' | '.join(cells)} |"


def soak(result: Mapping[str, Any]) -> Iterator[str]:
    """What honest clients notice of hostile ones, and how the server ends."""
    alone, beside = (result["honest_seconds"][phase] for phase in ("alone", "beside"))
    factor, log, stop = result["p95_beside_over_alone"], result["log_bytes"], result["seconds_to_stop_under_load"]
    errors = len(result["errors_other_than_503_with_retry_after"])
    yield "| what | bar | measured | holds |"
    yield "| --- | --- | --- | --- |"
    shown = (
        f"{factor:.2f} ({beside['p95']:.1f} s and {alone['p95']:.1f} s; {beside['requests']} and {alone['requests']} requests)"
    )
    yield f"| honest p95 beside hostile clients / alone | at most 2 | {shown} | {_holds(factor <= 2)} |"
    shown = f"{beside['p50']:.1f} and {alone['p50']:.1f}"
    yield f"| honest median beside hostile clients and alone, s | reported | {shown} | |"
    for name in ("honest", "hostile"):
        counts = ", ".join(f"{count:,} of {what}" for what, count in result[name].items())
        yield f"| what {name} clients got | reported | {counts} | |"
    yield f"| 5xx other than 503 with Retry-After | none | {errors} | {_holds(not errors)} |"
    yield f"| log, KB | below 1,000 | {log / 1000:.1f} | {_holds(log < 1e6)} |"
    yield f"| SIGTERM under load to the end, s | at most 30 | {stop:.1f} | {_holds(stop <= 30)} |"
    yield ""
    yield conditions({"soak": result})


def _row(
    what: str, measured: Mapping[str, Any] | None, *, least: float | None = None, most: float | None = None, percent: bool = False
) -> str:
    """A row about figures of several rounds; without `least` and `most` it is reported only."""
    limit = least if least is not None else most
    shown_limit = "reported" if limit is None else f"at {'least' if least is not None else 'most'} {_number(limit, percent)}"
    if measured is None:
        return f"| {what} | {shown_limit} | {NOT_MEASURED} | |"
    median, low, high = (measured[name] for name in ("median", "low", "high"))
    spread = f" ({_number(low, percent)} to {_number(high, percent)})" if measured["rounds"] > 1 else ""
    held = "" if limit is None else _holds(median >= limit if least is not None else median <= limit)
    return f"| {what} | {shown_limit} | {_number(median, percent)}{spread} | {held} |"


def _single(what: str, most: float, value: float | None) -> str:
    """A row about one figure that should be at most so much."""
    return _row(what, None if value is None else {**dict.fromkeys(("median", "low", "high"), value), "rounds": 1}, most=most)


def _number(value: float, percent: bool) -> str:
    return f"{value:.0%}" if percent else f"{value:.2f}".removesuffix(".00")


def _holds(held: bool) -> str:
    return "yes" if held else "**no**"


def _seconds(times: Mapping[str, Any]) -> str:
    spread = f" ({times['low']:.2f} to {times['high']:.2f})" if times["rounds"] > 1 else ""
    return f"{times['median']:.2f}{spread}"


def conditions(results: Mapping[str, Any]) -> str:
    """On what, when and at which commits these results were measured."""
    measured = [result for result in results.values() if "machine" in result]
    if not measured:
        return "Nothing was measured."
    machine = measured[-1]["machine"]
    commits, dates = (", ".join(sorted({result[key][:10] for result in measured})) for key in ("commit", "date"))
    threads = f", {machine['threads']} thread(s)" if "threads" in machine else ""
    return (
        f"Measured on {machine['cores']} cores ({machine['processor']}){threads}, {machine['gpu'] or 'no accelerator'}, torch "
        f"{machine['torch']}, {dates}, commit {commits}."
    )


if __name__ == "__main__":
    sys.exit(main())
