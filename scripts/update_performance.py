"""Writes the tables of docs/performance.md from benchmarks/results: `python -m scripts.update_performance`; `--check` only
compares. `make bench` measures anew and then runs this.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.generated_pages import put

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"
CASES = {
    "a_embedded_20": "(a) embedded backbone, prompt of 20",
    "a_embedded_100": "(a) embedded backbone, prompt of 100",
    "b_large_vocabulary_20": "(b) 120 M, vocabulary of 128,256, prompt of 20",
}

SHAPES = {"llama-3.1-8b": "Llama 3.1 8B", "gpt-oss-20b": "gpt-oss 20B"}
STEPS = {
    "prompt_tuning_step": "stage 1",
    "distillation_step": "stage 2, teachers' answers kept",
    "adaptation_step": "stage 3",
    "step_of_a_full_pass": "stage 1, as many rows as go through at once",
    "step_with_layers_kept": "stage 1, layers not computed again",
}


def main() -> int:
    """Update or check the page; exit code 1 when a check finds a difference."""
    old = PAGE.read_text(encoding="utf-8")
    new = old
    parts = {
        "summary": summary,
        "steps": steps,
        "growth": growth,
        "serving": serving,
        "soak": soak,
        "annotating": annotating,
        "side_by_side": side_by_side,
        "federating": federating,
        "shapes": shapes,
    }
    for name, lines in parts.items():
        new = put(new, name, lines())
    if "--check" in sys.argv:
        return int(old != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def read(name: str) -> Any:
    """What a benchmark found."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def summary() -> Iterator[str]:
    """One row a bar."""
    step, teachers, distil = read("prompt_tuning_step"), read("teachers_at_once"), read("distillation_step")
    prediction, check = read("mixed_prediction"), read("check_accuracy")
    yield "| what | bar | measured (median, range) | holds |"
    yield "| --- | --- | --- | --- |"
    for case, bar in (("a_embedded_20", 2.5), ("a_embedded_100", 2.5), ("b_large_vocabulary_20", 3.0)):
        yield _row(f"prompt-tuning step, {CASES[case]}: PEFT + Trainer / ours", f"at least {bar}", step[case]["speed_ratio"], bar)
    memory = step["b_large_vocabulary_20"]["memory_ratio"]
    yield f"| peak memory, (b): ours / PEFT + Trainer | at most 0.6 | {memory:.2f} | {_holds(memory <= 0.6)} |"
    yield _row("21 teachers at once / one, by the token", "at most 1.15", teachers["at_once_to_single"], 1.15, most=True)
    yield _row("distillation / plain multitask step", "at most 1.15", distil["kept_to_plain"], 1.15, most=True)
    equal = prediction["outputs_equal_to_ours_fp32"]
    for way, title in (("peft_one_by_one", "one by one"), ("peft_in_batches", "in batches")):
        same = f"{equal[way]} outputs equal in fp32"
        yield _row(f"10 tasks mixed: PEFT {title} / ours ({same})", "at least 5", prediction["speed_ratio"][way], 5)
    for case in check["cases"]:
        for what, bar in (("peak_memory", 0.15), ("time", 0.3)):
            off = case[what]["predicted"] / case[what]["measured"] - 1
            title = f"`mpdd check`, {case['name']}: {what.replace('_', ' ')}"
            yield f"| {title} | within {bar:.0%} | {off:+.0%} | {_holds(abs(off) <= bar)} |"
    yield ""
    yield _conditions("prompt_tuning_step", "teachers_at_once", "distillation_step", "mixed_prediction", "check_accuracy")


def steps() -> Iterator[str]:
    """What the peer's variants took."""
    found = read("prompt_tuning_step")
    yield "| case | tokens a row | ours, ms a step | PEFT + Trainer, its fastest variant | its other variants (one round) |"
    yield "| --- | --- | --- | --- | --- |"
    for case, title in CASES.items():
        row = found[case]
        best = row["speed_ratio"]["against"]
        others = ", ".join(f"{name} {1e3 * s:.0f}" for name, s in row["tuning_seconds_a_step"].items() if name != best)
        ours, peer = (_milliseconds(row["seconds_a_step"][name]) for name in ("ours", best))
        yield f"| {title} | {row['tokens_a_row']:.0f} | {ours} | {best} {peer} | {others} |"


def growth() -> Iterator[str]:
    """How the cost of a step grows."""
    found = read("step_cost")
    products = found["product_operations_a_second"]
    yield (
        f"Matrix products in bf16 in the same run: {products['large'] / 1e12:.2f} TFLOP/s at 4096 x 4096 x 4096, "
        f"{products['small'] / 1e12:.2f} at a shape of this backbone. Base: {json.dumps(found['base'])}."
    )
    yield ""
    yield "| case | ms a step | microseconds a text token | of the large product | of the small one |"
    yield "| --- | --- | --- | --- | --- |"
    for label, row in found["cases"].items():
        shares = f"{row['of_large_product']:.0%} | {row['of_small_product']:.0%}"
        yield f"| {label} | {_milliseconds(row['seconds'])} | {row['microseconds_a_text_token']:.0f} | {shares} |"
    yield ""
    yield _conditions("step_cost")


def annotating() -> Iterator[str]:
    """Ray workers against one process."""
    found = read("ray_workers")
    wrong = [found["missing"], found["duplicates"], found["notes"] - found["same_answer"]]
    killed = f"{found['notes']:,} short notes by {found['workers']} Ray workers, one killed after {found['killed_after_notes']:,}"
    yield "| what | bar | measured | holds |"
    yield "| --- | --- | --- | --- |"
    shown = f"{wrong[0]} missing, {wrong[1]} twice, {wrong[2]} not what one process answers"
    yield f"| {killed} | nothing missing, nothing twice, the same answers | {shown} | {_holds(not any(wrong))} |"
    shown = f"{found['throughput_ratio']:.2f} ({found['seconds_ray']:.0f} s against {found['seconds_one_process']:.0f} s)"
    yield f"| throughput of the workers, kill included / one process with two threads | reported | {shown} | |"
    yield ""
    yield _conditions("ray_workers")


def side_by_side() -> Iterator[str]:
    """Two processes on two cores against one."""
    found = read("side_by_side")
    times = (found[way]["median"] for way in ("seconds_one_process", "seconds_side_by_side"))
    yield "| what | bar | measured | holds |"
    yield "| --- | --- | --- | --- |"
    what = f"all stages, shortened demo: one process on all cores / {found['processes']} processes"
    yield f"| {what} | reported | {found['ratio']['median']:.2f} ({' s against '.join(f'{t:.0f}' for t in times)} s) | |"
    yield ""
    yield _conditions("side_by_side")


def federating() -> Iterator[str]:
    """Losses of two sites with a joint metaprompt and alone."""
    found = read("federated")["mean_over_seeds"]
    yield "| answer loss on test, nats a token | each site alone | joint | all data in one place |"
    yield "| --- | --- | --- | --- |"
    for site, ways in found["own_tasks"].items():
        values = (f"{ways[way]['test']:.3f}" for way in ("alone", "joint", "pooled"))
        yield f"| three tasks of site {site} | {' | '.join(values)} |"
    for task, ways in found["held_out"].items():
        for kind, title in (("zero_shot", "without an example"), ("adapted", "adapted to 32 examples")):
            alone, joint = (", ".join(f"{ways[f'{way}_{site}'][kind]:.3f}" for site in "ab") for way in ("alone", "joint"))
            yield f"| a task of neither, {task}, {title} (sites a, b) | {alone} | {joint} | {ways['pooled'][kind]:.3f} |"
    yield ""
    yield f"Seeds: {len(read('federated')['seeds'])}. {_conditions('federated')}"


def shapes() -> Iterator[str]:
    """What the paper's backbones take at their true shape on a GPU, and what `check` foretells of it."""
    found = read("full_shapes")
    device, parts = found["device"], found["shapes"]
    size, product, copy = device["product"]["size"], device["product"]["operations_a_second"], device["copy"]["bytes_a_second"]
    yield (
        f"In the same run: a matrix product of {size} x {size} x {size} in bf16, {product / 1e12:.0f} TFLOP/s; a copy within the "
        f"device's memory, {copy / 1e12:.2f} TB/s, read and written."
    )
    yield ""
    yield (
        "| a step | rows | ms (range, rounds) | of the product | with layers computed again | peak memory, GB | "
        "`check --shape` foretells, GB | off | TFLOP/s with which `check` says this time |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for shape, title in SHAPES.items():
        for part, what in STEPS.items():
            if part in parts[shape]:
                yield _shape_step(f"{title}: {what}", parts[shape][part], product)
    yield ""
    yield f"| requests of several tasks in one batch | {' | '.join(SHAPES.values())} |"
    yield "| --- | --- | --- |"
    for what, shown in MIXED.items():
        yield f"| {what} | {' | '.join(shown(parts[shape]['mixed_prediction'], product) for shape in SHAPES)} |"
    yield ""
    yield f"| packed rows against padded ones, bf16 | {' | '.join(SHAPES.values())} |"
    yield "| --- | --- | --- |"
    for what, say in PACKED.items():
        yield f"| {what} | {' | '.join(say(parts[shape]) for shape in SHAPES)} |"
    layer = parts["llama-3.1-8b"]["attention_of_a_layer"]
    profile = layer["profile"]
    ours, least, kernels = layer["as_it_is"]["median"], layer["causal_rows_alone"]["median"], profile["busy"] * profile["seconds"]
    yield ""
    yield (
        f"Attention of one layer of Llama 3.1 8B in a step of 8 rows, forward and backward: {1e3 * ours:.1f} ms, in which "
        f"{profile['calls']} kernels run (for {1e3 * kernels:.1f} ms, says the profiler); causal attention of the rows alone, in "
        f"one call: {1e3 * least:.1f} ms."
    )
    skipped = [f"{SHAPES[shape]} {name}" for shape in SHAPES for name, part in parts[shape].items() if "skipped" in part]
    missing = [f"{SHAPES[shape]} {name}" for shape in SHAPES for name in parts["llama-3.1-8b"] if name not in parts[shape]]
    yield ""
    yield f"Not reached in the run's time: {', '.join([*skipped, *missing])}. Seed {found['seed']}. {_conditions('full_shapes')}"


def _shape_step(title: str, row: Mapping[str, Any], product: float) -> str:
    seconds, foretold = row["seconds"], row["foretold"]
    peak, wanted = row["peak_bytes"], foretold["peak_bytes_at_these_tokens"]
    told = foretold["seconds"] * product / seconds["median"] / 1e12
    time, memory = _rounds(seconds, 1e3, 0), f"{peak / 1e9:.1f} | {wanted / 1e9:.1f} | {peak / wanted - 1:+.0%}"
    shares = f"{row['utilisation']:.0%} | {row['with_recomputing']:.0%}"
    return f"| {title} | {row['rows']} | {time} | {shares} | {memory} | {told:.0f} |"


MIXED: dict[str, Callable[[Mapping[str, Any], float], str]] = {
    "requests; tasks; tokens read, prompts among them; tokens written": lambda row, _: (
        f"{row['requests']}; {row['tasks']}; {row['tokens_read']:,}; {row['tokens_written']:,}"
    ),
    "the whole, s": lambda row, _: _rounds(row["seconds"]),
    "requests a second, read and written": lambda row, _: f"{row['requests'] / row['seconds']['median']:.1f}",
    "reading and the first token, s": lambda row, _: _rounds(row["reading_seconds"]),
    "reading: requests a second": lambda row, _: f"{row['notes_read_a_second']:.1f}",
    "reading: of the product": lambda row, _: f"{row['utilisation']:.0%}",
    "reading: TFLOP/s with which `check` says this time": lambda row, product: (
        f"{row['notes_read_a_second'] / row['foretold_notes_a_second'] * product / 1e12:.0f}"
    ),
    "writing: ms for a token of each request": lambda row, _: f"{1e3 * row['seconds_a_token_of_all_rows']:.1f}",
    "writing: tokens a second": lambda row, _: f"{row['tokens_written_a_second']:,.0f}",
    "writing: of the copy": lambda row, _: f"{row['share_of_copy']:.0%}",
    "peak memory, GB": lambda row, _: f"{row['peak_bytes'] / 1e9:.1f}",
}
PACKED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "the check at load: rows can be laid end to end": lambda row: _holds(row["loading_checks"]["packs"]),
    "losses of two rows, packed": lambda row: _losses(row, 0),
    "losses of two rows, padded": lambda row: _losses(row, 1),
    "gradient of the prompt: cosine": lambda row: f"{row['agreement_with_padding']['gradient_cosine']:.3f}",
    "gradient of the prompt: norm of the difference / of the padded": lambda row: (
        f"{row['agreement_with_padding']['gradient_relative_difference']:.2f}"
    ),
}


def _losses(row: Mapping[str, Any], way: int) -> str:
    return ", ".join(f"{loss:.3f}" for loss in row["agreement_with_padding"]["losses"][way])


def _rounds(found: Mapping[str, Any], unit: float = 1.0, places: int = 2) -> str:
    median, low, high = (f"{unit * found[name]:.{places}f}" for name in ("median", "low", "high"))
    return f"{median} ({low} to {high}, {found['rounds']})" if found["rounds"] > 1 else f"{median} (1)"


def serving() -> Iterator[str]:
    """What many tasks cost and how a server stands a full load; its rows have bars where there are any."""
    many, load = read("many_tasks"), read("serving_load")
    added = many["adding_a_task"]
    memory, seconds = added["bytes_resident"], added["milliseconds"]
    yield "| what | bar | measured (median, range) | holds |"
    yield "| --- | --- | --- | --- |"
    title = f"throughput of a stream over {many['tasks']} tasks / over one ({many['examples']} examples)"
    yield _row(title, "at least 0.95", many["throughput_of_31_tasks_to_1"], 0.95)
    title = f"{many['generating_tasks']} tasks that generate ({many['generating_examples']} examples): PEFT one by one / ours"
    yield _row(title, "at least 5", many["speed_ratio_to_peft"], 5)
    yield _row(f"adding a task of {added['prompt']} virtual tokens, ms", "at most 50", seconds, 50, most=True)
    found = f"{memory / 1024:.0f} KiB ({added['bytes_of_tensors'] / 1024:.0f} of tensors)"
    yield f"| memory of a task, resident | at most 64 KB | {found} | {_holds(max(memory, added['bytes_of_tensors']) <= 65536)} |"
    statuses = ", ".join(f"{count:,} of {status}" for status, count in load["statuses"].items())
    good = all(status in ("200", "429") for status in load["statuses"])
    title = f"{load['minutes']:.0f} minutes, {load['clients']} clients, {load['tasks']} tasks: answers by status"
    yield f"| {title} | none but 200 and 429 | {statuses} | {_holds(good)} |"
    resident, latency = load["resident_mib"], load["latency_seconds"]
    early, late = resident["highest_in_second_quarter"], resident["highest_in_last_quarter"]
    flat = late <= 1.05 * early
    shown = f"at most {early} in the second quarter, {late} in the last"
    yield f"| resident memory of the server, MiB | flat (5%) | {shown} | {_holds(flat)} |"
    shown = f"{latency['p50']:.2f} median, {latency['p95']:.2f} p95, {latency['p99']:.2f} p99"
    yield f"| seconds to an answer under that load ({load['answers_a_second']:.1f} answers a second) | reported | {shown} | |"
    yield ""
    yield _conditions("many_tasks", "serving_load")


def soak() -> Iterator[str]:
    """What honest clients notice of hostile ones, and how the server ends."""
    result = read("soak")
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
    yield _conditions("soak")


def _row(what: str, bar: str, found: Mapping[str, Any], limit: float, *, most: bool = False) -> str:
    held = found["median"] <= limit if most else found["median"] >= limit
    return f"| {what} | {bar} | {found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f}) | {_holds(held)} |"


def _holds(held: bool) -> str:
    return "yes" if held else "**no**"


def _milliseconds(found: Mapping[str, Any]) -> str:
    return f"{1e3 * found['median']:.0f} ({1e3 * found['low']:.0f} to {1e3 * found['high']:.0f})"


def _conditions(*names: str) -> str:
    found = [read(name) for name in names]
    machine = found[0]["machine"]
    commits = ", ".join(sorted({one["commit"][:7] for one in found}))
    gpu = machine["gpu"] or "no accelerator"
    return (
        f"Measured on {machine['cores']} cores ({machine['processor']}), {gpu}, torch {machine['torch']}, "
        f"{found[0]['date']}, commit {commits}."
    )


if __name__ == "__main__":
    sys.exit(main())
