"""Tables of docs/performance.md about one GPU, from `benchmarks/results/gpu.json` (`python -m benchmarks.gpu`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

SHAPES = {"llama-3.1-8b": "Llama 3.1 8B", "gpt-oss-20b": "gpt-oss 20B"}
STEPS = {
    "prompt_tuning_step": "stage 1",
    "distillation_step": "stage 2, teachers' answers kept",
    "adaptation_step": "stage 3",
    "step_of_a_full_pass": "stage 1, as many rows as go through at once",
    "step_with_layers_kept": "stage 1, layers not computed again",
}


def shapes(found: Mapping[str, Any], conditions: str) -> Iterator[str]:
    """What the paper's backbones take at their true shape on a GPU, and what `check` foretells of it."""
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
        yield _line(what, partial(_of_mixed, shown, product), parts)
    for what, shown_beside in PEERS.items():
        yield _line(what, shown_beside, parts)
    yield ""
    yield f"| packed rows against padded ones, bf16 | {' | '.join(SHAPES.values())} |"
    yield "| --- | --- | --- |"
    for what, say in PACKED.items():
        yield _line(what, say, parts)
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
    yield f"Not reached in the run's time: {', '.join([*skipped, *missing])}. Seed {found['seed']}. {conditions}"


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
    "the check at load: rows can be laid end to end": lambda row: _yes(row["loading_checks"]["packs"]),
    "losses of two rows, packed": lambda row: _losses(row, 0),
    "losses of two rows, padded": lambda row: _losses(row, 1),
    "gradient of the prompt: cosine": lambda row: f"{row['agreement_with_padding']['gradient_cosine']:.3f}",
    "gradient of the prompt: norm of the difference / of the padded": lambda row: (
        f"{row['agreement_with_padding']['gradient_relative_difference']:.2f}"
    ),
}


PEERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "transformers `generate` / ours, the whole": lambda parts: _times(parts["peer_prediction"], parts["mixed_prediction"]),
    "a step of stage 1: PEFT + Trainer / ours, layers kept by both": lambda parts: _times(
        parts["peer_step"], parts["step_with_layers_kept"]
    ),
    "Open-31 at these speeds: hours of training and of answering": lambda parts: (
        f"{parts['night']['training_hours']:.0f} and {parts['night']['answering_hours']:.0f}"
    ),
    "how many times as fast all must be for ten hours": lambda parts: f"{parts['night']['times_as_fast_for_a_night']:.1f}",
}


def _times(slow: Mapping[str, Any], fast: Mapping[str, Any]) -> str:
    return f"{slow['seconds']['median'] / fast['seconds']['median']:.2f}"


def _of_mixed(shown: Callable[[Mapping[str, Any], float], str], product: float, parts: Mapping[str, Any]) -> str:
    return shown(parts["mixed_prediction"], product)


def _line(what: str, shown: Callable[[Mapping[str, Any]], str], parts: Mapping[str, Any]) -> str:
    """A row with a cell for each shape; what was not reached or has failed is not measured."""
    cells = []
    for shape in SHAPES:
        try:
            cells.append(shown(parts[shape]))
        except KeyError:
            cells.append("not measured")
    return f"| {what} | {' | '.join(cells)} |"


def _losses(row: Mapping[str, Any], way: int) -> str:
    return ", ".join(f"{loss:.3f}" for loss in row["agreement_with_padding"]["losses"][way])


def _rounds(found: Mapping[str, Any], unit: float = 1.0, places: int = 2) -> str:
    median, low, high = (f"{unit * found[name]:.{places}f}" for name in ("median", "low", "high"))
    return f"{median} ({low} to {high}, {found['rounds']})" if found["rounds"] > 1 else f"{median} (1)"


def _yes(held: bool) -> str:
    return "yes" if held else "**no**"
