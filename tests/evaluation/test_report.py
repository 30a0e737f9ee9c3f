import json
import math
import random
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mpdd.errors import InputError
from mpdd.evaluation.differences import DifferenceTable, Gap
from mpdd.evaluation.failures import ERRORS
from mpdd.evaluation.reliability import reliability
from mpdd.evaluation.report import plots, wording
from mpdd.evaluation.report.curves import panels_by_part, panels_by_task, read_metrics
from mpdd.evaluation.report.page import first_words, summary, write_report
from mpdd.evaluation.results import METHODS, Row, results_table, results_tables, write_results
from mpdd.evaluation.transfer import spearman

BACKBONE: dict[str, Any] = {"backbone": "pythia-160m", "backbone_parameters": 162_322_944}
TARGETS: dict[str, dict[str, Any]] = {
    "ncbi_disease": {"task_type": "ner", "metric": "strict_f1", "n_examples": 940, "chance": 0.0},
    "chemprot": {"task_type": "re", "metric": "strict_f1", "n_examples": 800, "chance": 0.0},
    "pubmedqa": {"task_type": "qa", "metric": "accuracy", "n_examples": 500, "chance": 55.2},
    "scitail_clinical": {"task_type": "nli", "metric": "macro_f1", "n_examples": 1422, "chance": 25.1},
}
LEVELS = {"ncbi_disease": 52.0, "chemprot": 38.0, "pubmedqa": 60.0, "scitail_clinical": 58.0}
# gain, trainable parameters, seconds, trials
COSTS: dict[str, tuple[float, int, float, int]] = {
    "zero-shot": (-30, 0, 0, 0),
    "in-context": (-22, 0, 0, 0),
    "prompt-tuning": (0, 76_800, 410, 6),
    "deep-prompt-tuning": (2.2, 921_600, 430, 6),
    "mpdd": (7, 77_668, 395, 6),
    "mpdd-zero-shot": (-18, 0, 0, 0),
    "mpdd-examples": (-10, 0, 0, 0),
    "mpdd-context": (8, 1_300, 400, 6),
    "mpdd-full": (1.5, 77_668, 220, 6),
    "mpdd-no-teachers": (4.6, 77_668, 390, 6),
    "shared-prompt": (2.8, 76_800, 400, 6),
    "spot": (3.1, 76_800, 405, 6),
    "sesom": (-16, 0, 0, 0),
    "lora": (9, 1_179_648, 1260, 6),
    "lora-matched": (4.1, 73_728, 880, 6),
    "lora-multitask": (9.6, 1_179_648, 1300, 6),
    "ia3": (-1.2, 55_296, 700, 6),
    "ia3-multitask": (0.4, 55_296, 700, 6),
    "full-finetuning": (11.5, 162_322_944, 5400, 4),
}


def make_rows(methods: tuple[str, ...] = METHODS, shots: tuple[int | str, ...] = ("all",), seeds: int = 3) -> list[Row]:
    rng = random.Random(4)
    rows = []
    for method in methods:
        gain, parameters, seconds, trials = COSTS[method]
        for target, facts in TARGETS.items():
            for amount in shots if parameters else (0,):
                level = LEVELS[target] + (gain if amount != 0 else 0.8 * gain)
                level -= 0 if amount in ("all", 0) else 22 / math.log2(int(amount))
                for seed in range(seeds if parameters else 1):
                    rows.append(make_row(method, target, facts, amount, seed, level + rng.gauss(0, 0.8), rng))
                    rows[-1] = Row(**{**vars(rows[-1]), "trainable_parameters": parameters, "tuning_trials": trials,
                                      "trainable_fraction": parameters / BACKBONE["backbone_parameters"],
                                      "stored_bytes": 4 * parameters + 900, "train_seconds": seconds,
                                      "train_examples_seen": 9600 if parameters else 0})  # fmt: skip
    return rows


def make_row(method: str, target: str, facts: dict[str, Any], shots: Any, seed: int, level: float, rng: random.Random) -> Row:
    value = min(max(level, 0.5), 99)
    half = 196 * math.sqrt(value / 100 * (1 - value / 100) / facts["n_examples"])
    unparseable = 12.4 if method == "zero-shot" else (0.4 if target == "chemprot" and method == "ia3" else 0)
    costs = ("trainable_parameters", "trainable_fraction", "stored_bytes", "train_examples_seen", "train_seconds")
    return Row(
        **{"method": method, "target": target, "shots": shots, "seed": seed, **BACKBONE, **facts, "value": value,
           "ci_low": max(0, value - half * rng.uniform(0.9, 1.1)), "ci_high": min(100, value + half),
           "unparseable": unparseable, "tuning_trials": 0, **dict.fromkeys(costs, 0)}
    )  # fmt: skip


def make_metrics() -> list[dict[str, Any]]:
    rng, records = random.Random(1), []
    for source in ("bc5cdr", "ddi", "medmcqa", "mednli", "hoc", "i2b2_2010"):
        for step in range(0, 401, 20):
            loss = 0.4 + 3 * math.exp(-step / rng.uniform(80, 100)) + rng.gauss(0, 0.03)
            records.append({"stage": "teach", "run": source, "method": "prompt-tuning", "task": source, "step": step,
                            "loss": loss, "dev_loss": loss + 0.1, "seed": 0})  # fmt: skip
    for step in range(0, 3000, 5):
        task, kl, hidden = (a + b * math.exp(-step / c) * rng.uniform(0.8, 1.2) for a, b, c in
                            ((0.6, 2.5, 500), (0.08, 1.3, 700), (0.4, 0.5, 900)))  # fmt: skip
        records.append({"stage": "distil", "run": "metaprompt", "method": "mpdd", "task": "mixture", "step": step,
                        "loss": task + 0.9 * (kl + hidden), "task_loss": task, "kl": kl, "hidden": hidden,
                        "seed": 0})  # fmt: skip
    for target in TARGETS:
        for method, (gain, parameters, _, _) in COSTS.items():
            for rate in (0.03, 0.3, 3.0) if parameters else ():
                for step in range(0, 601, 40):
                    floor = 0.9 - gain / 40 + (0.35 if rate != 0.3 else 0)
                    loss = floor + (1.6 if method.startswith("mpdd") else 2.4) * math.exp(-step / (120 / rate**0.3))
                    loss = loss * (1 + step / 90) if rate == 3.0 and method == "prompt-tuning" else loss
                    records.append({"stage": "adapt", "run": f"{target}/{method} lr {rate}", "method": method, "task": target,
                                    "step": step, "loss": loss, "dev_loss": loss + rng.gauss(0.05, 0.012),
                                    "seed": 0})  # fmt: skip
    return records


EXAMPLES = {
    "ncbi_disease": [
        {
            "id": "10021369:0",
            "input": "List every disease mention in the text.\n\nText: Identification of APC2, a homologue of the "
            "adenomatous polyposis coli tumour suppressor. The <b>APC</b> gene is mutated in most colorectal cancers.\n\nAnswer:",
            "gold": "adenomatous polyposis coli tumour\ncolorectal cancers",
            "predictions": {
                "zero-shot": "The text is about a gene.",
                "prompt-tuning": "colorectal cancers",
                "mpdd": "adenomatous polyposis coli tumour\ncolorectal cancers",
                "lora": "adenomatous polyposis coli\ncolorectal cancers",
            },
        },
        {"id": "10064668", "input": "  two  spaces & <i>tags</i>", "gold": "none", "predictions": {"mpdd": "none"}},
    ],
    "pubmedqa": [
        {
            "id": "21645374",
            "input": "Do mitochondria play a role in remodelling lace plant leaves during programmed cell death?",
            "gold": "yes",
            "predictions": {"mpdd": "yes", "prompt-tuning": "maybe"},
        }
    ],
}
PROVENANCE = {
    "data": "synthetic",
    "command": "mpdd run experiments/demo.toml",
    "code": {"version": "0.1.0", "commit": "5f2c1f9d5a0b3e6c7d8e9f00112233445566aabb", "dirty": False},
    "seeds": [0, 1, 2],
    "backbone": {"name": "pythia-160m", "fingerprint": "sha256:9b1c04cf5c0a1cf2a1d39f3b0b5c8f8a54f3e2d1c0b9a8f7e6d5c4b3a2918070"},
    "data_hashes": {target: f"sha256:{index:064x}" for index, target in enumerate(TARGETS, start=11)},
    "machine": {"cpu": "2 cores", "memory_gb": 8.0, "gpu": None, "libraries": {"torch": "2.13.0", "transformers": "5.23.0"}},
    "stages": [{"name": "teach", "seconds": 812.4}, {"name": "distil", "seconds": math.nan}],
}  # fmt: skip


SOURCES = ("bc5cdr_ner", "ddi", "medmcqa")


def make_transfer(sources: tuple[str, ...] = SOURCES, shots: tuple[int | str, ...] = ("all",)) -> list[dict[str, Any]]:
    rng, found = random.Random(2), []
    for amount in shots:
        targets: list[dict[str, Any]] = []
        for target in TARGETS:
            similarity = {source: round(rng.uniform(-0.3, 0.4), 4) for source in sources}
            gain = {"value": round(rng.gauss(3, 4), 4), "low": -1.25, "high": 7.5}
            nearest = max(similarity, key=similarity.__getitem__)
            targets.append({"target": target, "seeds": 3, "gain": gain, "nearest": nearest, "similarity": similarity})
        targets[-1]["gain"] = None
        both = [t for t in targets if t["gain"]]
        correlation = spearman([t["similarity"][t["nearest"]] for t in both], [t["gain"]["value"] for t in both])
        found.append({"shots": amount, "method": "mpdd", "against": "prompt-tuning", "sources": list(sources),
                      "targets": targets, "correlation": correlation})  # fmt: skip
    return found


def failed(target: str, kind: str, method: str = "mpdd", shots: Any = "all", seed: int = 0, **found: Any) -> dict[str, Any]:
    named = {"target": target, "method": method, "shots": shots, "seed": seed}
    return {**named, "kind": kind, "examples": 200, "unparseable": 0, "ungrounded": 0, "cut_inputs": 0, **found}


def items(*counts: int, errors: tuple[str, ...]) -> dict[str, int]:
    return dict(zip(("gold", "right", *errors), counts, strict=True))


NER, RE, CODES = ERRORS["entities"], ERRORS["relations"], ERRORS["labels"]
FAILURES = [
    failed("ncbi_disease", "entities", "lora", labels={"Disease": items(9, 9, 0, 0, 0, 0, errors=NER)}, lost=0),
    failed("ncbi_disease", "entities", labels={"Disease": items(960, 512, 130, 0, 318, 101, errors=NER)}, lost=12, ungrounded=4),
    failed("chemprot", "relations", lost=0, unparseable=3, cut_inputs=7, labels={
        "UPREGULATOR": items(660, 301, 102, 17, 240, 88, errors=RE),
        "DOWNREGULATOR": items(1661, 911, 90, 12, 648, 330, errors=RE),
        "AGONIST": items(198, 60, 40, 2, 96, 11, errors=RE),
        "SUBSTRATE": items(0, 0, 0, 0, 0, 0, errors=RE),
    }),
    failed("pubmedqa", "choices", outcomes={"right": 120, "wrong": 78, "unparseable": 2}, labels=["yes", "no", "maybe"],
           confusion=[[85, 20, 5, 0], [25, 34, 7, 1], [14, 7, 1, 1]], unparseable=2),
    failed("scitail_clinical", "extracts", outcomes={"exact": 60, "overlapping": 80, "wrong": 58, "unparseable": 2}),
    failed("meqsum", "texts", median_ratio=0.8125, empty=2, copied=34, gold_copied=1, unparseable=2),
    failed("medqa", "options", outcomes={"right": 70, "wrong": 130, "unparseable": 0}),
    failed("hoc", "labels", lost=0, labels={
        f"label {n}": items(100 - n, 50, 50 - n, n, errors=CODES) for n in range(20)
    }),
]  # fmt: skip

RELIABLE = {
    "target": "pubmedqa",
    "method": "mpdd",
    "shots": "all",
    "seed": 0,
    **reliability([(0.9, True), (0.9, False), (0.1, False), (0.3, True)], {"slope": 1.0, "shift": 0.0, "units": 50}),
}


def make_run(folder: Path, rows: list[Row] | None = None, optional: bool = True) -> Path:
    """A run folder as a real run leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder / "results.json", rows or make_rows())
    if optional:
        lines = "\n".join(json.dumps(record) for record in make_metrics())
        (folder / "metrics.jsonl").write_text(lines + '\n{"stage": "adapt", "st')
        (folder / "examples.json").write_text(json.dumps(EXAMPLES))
        (folder / "provenance.json").write_text(json.dumps(PROVENANCE))
        (folder / "transfer.json").write_text(json.dumps(make_transfer()))
        (folder / "failures.json").write_text(json.dumps(FAILURES))
        (folder / "reliability.json").write_text(json.dumps([RELIABLE]))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("run"))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_two_renders_are_the_same_bytes(run: Path, page: str, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "elsewhere")
    assert write_report(copy) == copy / "report.html"
    assert (copy / "report.html").read_text(encoding="utf-8") == page


def test_writing_leaves_nothing_else(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    records = {"metrics.jsonl", "examples.json", "provenance.json", "transfer.json", "failures.json", "reliability.json"}
    assert names == {"results.json", "report.html"} | records


class Structure(HTMLParser):
    """What a browser would see: balanced tags, unique ids, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in ("meta", "path", "line", "rect", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "line", "rect"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_loads_nothing(page: str) -> None:
    structure = Structure(page)
    assert structure.open == []
    ids = [value for _, name, value in structure.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [value for _, name, value in structure.attributes if name in ("href", "src", "srcset", "xlink:href", "action")]
    assert links and all(value in {f"#{i}" for i in ids} for value in links)
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []
    assert "<script" not in page


def test_pictures_and_tables_are_accessible(page: str) -> None:
    structure = Structure(page)
    pictures = re.findall(r"<svg [^>]*>", page)
    assert all("aria-label=" in picture or 'aria-hidden="true"' in picture for picture in pictures)
    assert all(value in ("col", "row") for tag, name, value in structure.attributes if tag == "th" and name == "scope")
    assert page.count("<th") - page.count("<thead") == sum(name == "scope" for _, name, _ in structure.attributes)


def test_no_number_is_missing(page: str) -> None:
    body = page.split("</style>")[1]
    assert re.findall(r"\b(nan|NaN|inf|Infinity|None|null|undefined)\b", body) == []


def test_markup_in_texts_does_not_survive(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>\"><img src=x onerror=y>"
    facts = {evil: TARGETS["ncbi_disease"]}
    rows = [make_row("mpdd", target, f, "all", 0, 50.0, random.Random(0)) for target, f in facts.items()]
    rows = [Row(**{**vars(row), "backbone": evil, "metric": evil}) for row in rows]
    run = make_run(tmp_path / "run", rows, optional=False)
    (run / "provenance.json").write_text(json.dumps({evil: {"deep": [evil]}, "data": evil}))
    example = {"id": evil, "input": evil, "gold": evil, "predictions": {evil: evil}}
    (run / "examples.json").write_text(json.dumps({evil: [example]}))
    record = {"stage": "adapt", "run": evil, "method": evil, "task": evil, "loss": 1.0, "seed": evil}
    (run / "metrics.jsonl").write_text("\n".join(json.dumps({**record, "step": step}) for step in (1, 2)))
    (run / "transfer.json").write_text(json.dumps(make_transfer((evil,))))
    by_label = {evil: items(4, 1, 0, 0, 3, 0, errors=NER)}
    confused = {
        "outcomes": {"right": 1, "wrong": 3, "unparseable": 0},
        "labels": [evil, "b"],
        "confusion": [[1, 3, 0], [0, 0, 0]],
    }
    both = [failed(evil, "entities", evil, labels=by_label), failed("b", "choices", **confused)]
    (run / "failures.json").write_text(json.dumps(both))
    (run / "reliability.json").write_text(json.dumps([{**RELIABLE, "target": evil}]))
    page = write_report(run).read_text(encoding="utf-8")
    assert "<script" not in page and "<img" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert not [name for _, name, _ in Structure(page).attributes if name.startswith("on")]


def test_examples_keep_their_white_space(page: str) -> None:
    assert "\n  two  spaces &amp; &lt;i&gt;tags&lt;/i&gt;</pre>" in page
    assert page.count("same as gold") == 3


def test_a_run_of_results_alone(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run", optional=False)).read_text(encoding="utf-8")
    assert all(f"({name})" in page for name in ("metrics.jsonl", "examples.json"))
    assert "no provenance record (provenance.json)" in page
    assert "Synthetic data" not in page


def test_a_run_without_results(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="results.json does not exist"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[1]", "found list; wanted a JSON object")])
@pytest.mark.parametrize("name", ["provenance.json", "examples.json"])
def test_damaged_records(tmp_path: Path, name: str, text: str, message: str) -> None:
    run = make_run(tmp_path / "run", make_rows(("mpdd",)), optional=False)
    (run / name).write_text(text)
    with pytest.raises(InputError, match=f"{name} .*{message}"):
        write_report(run)


def test_synthetic_data_carry_a_banner(page: str) -> None:
    assert "<strong>Synthetic data.</strong>" in page


def test_warnings_about_the_data_carry_a_banner(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert "<strong>Warning.</strong>" not in write_report(run).read_text()
    warned = {**PROVENANCE, "warnings": {"own": "14 of 42 <entities> are lost."}}
    (run / "provenance.json").write_text(json.dumps(warned))
    page = write_report(run).read_text()
    assert '<p class="banner"><strong>Warning.</strong> 14 of 42 &lt;entities&gt; are lost.</p>' in page
    (run / "provenance.json").write_text(json.dumps({**PROVENANCE, "warnings": "none"}))
    assert "<strong>Warning.</strong>" not in write_report(run).read_text()


def test_one_method_on_one_target(tmp_path: Path) -> None:
    rows = make_rows(("mpdd",), seeds=1)[:1]
    page = write_report(make_run(tmp_path / "run", rows, optional=False)).read_text(encoding="utf-8")
    assert "no other method was run" in page
    assert ">Mean<" not in page and "<strong>59" not in page and "Mean score against size" not in page


def test_an_untrained_method_alone(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run", make_rows(("zero-shot",)), optional=False)).read_text(encoding="utf-8")
    assert "No training" in page and "12 % unparsed".replace(" ", wording.SPACE, 1) in page


def test_shots_and_backbones_have_sections(tmp_path: Path) -> None:
    rows = make_rows(("mpdd", "prompt-tuning"), shots=(8, 32, "all"))
    rows += [Row(**{**vars(row), "backbone": "other"}) for row in rows]
    page = write_report(make_run(tmp_path / "run", rows, optional=False)).read_text(encoding="utf-8")
    titles = re.findall(r"<h3>(.*? training examples?.*?)</h3>", page)
    assert titles[:3] == ["other, all training examples", "other, 32 training examples", "other, 8 training examples"]
    assert "Mean score against training examples, pythia-160m" in titles


def test_nothing_is_highest_where_all_score_the_same(tmp_path: Path) -> None:
    rows = [Row(**{**vars(row), "value": 0, "ci_low": 0, "ci_high": 0}) for row in make_rows(("mpdd", "lora"), seeds=1)]
    page = write_report(make_run(tmp_path / "run", rows, optional=False)).read_text(encoding="utf-8")
    assert "<strong>0.0" not in page and " close" not in page


# The sentence


def scored(*scores: tuple[str, float, float], paired: Gap | None = None, shots: int | str = "all") -> str:
    facts = TARGETS["ncbi_disease"]
    rows = []
    for method, value, half in scores:
        row = make_row(method, "ncbi_disease", facts, "all", 0, value, random.Random(0))
        changes = {"value": value, "ci_low": value - half, "ci_high": value + half, "trainable_parameters": 10}
        rows.append(Row(**{**vars(row), **changes, "trainable_fraction": 0.0005}))
    differences = [DifferenceTable("mpdd", shots, (), (("spot", (), Gap(9, 8, 10, 0, True)), ("lora", (), paired)))]
    return summary(results_table(rows), differences).replace(wording.SPACE, " ").replace("\u2060", "")


def test_the_summary_claims_nothing_where_intervals_overlap() -> None:
    sentence = scored(("mpdd", 60, 3), ("lora", 56, 2), ("spot", 50, 1))
    assert sentence == (
        "mpdd scores 60.0 (95 % interval 57.0–63.0) on ncbi_disease, training 10 parameters (0.050 % of the backbone); "
        "lora, the best of the 2 other methods, scores 56.0 (54.0–58.0), and the intervals overlap, so this run does "
        "not show which of the two is better; chance level is 0.0."
    )


def test_the_summary_says_which_way_where_they_do_not() -> None:
    assert scored(("mpdd", 60, 1), ("lora", 50, 1)).endswith(
        "lora, the only other method, scores 50.0 (49.0–51.0), which is lower, and the intervals do not overlap; "
        "chance level is 0.0."
    )
    assert "which is higher, and the intervals do not overlap" in scored(("mpdd", 60, 1), ("lora", 70, 1))


def test_the_paired_difference_decides_where_there_is_one() -> None:
    two = ("mpdd", 60, 3), ("lora", 64, 2)
    assert scored(*two, paired=Gap(-4, -6.25, -2, 0.01, True)).endswith(
        "lora, the only other method, scores 64.0 (62.0–66.0), and is better: mpdd minus lora is −4.0 (−6.2 to −2.0) on the same "
        "documents; chance level is 0.0."
    )
    assert "and is worse: mpdd minus lora is +1.0 (" in scored(*two, paired=Gap(1, 0.5, 2, 0.01, True))
    unclear = scored(*two, paired=Gap(-4, -8.5, 0.25, 0.06, False))
    assert "(62.0–66.0); mpdd minus lora is −4.0 (−8.5 to +0.2) on the same documents, so this run does not show which" in unclear
    assert "the intervals overlap" in scored(*two, paired=Gap(-4, -6, -2, 0.01, True), shots=32)


def test_the_summary_of_other_runs() -> None:
    assert scored(("lora", 60, 1), ("spot", 50, 1)).startswith("lora scores 60.0")
    assert scored(("mpdd", 1, 1)).endswith(
        "no other method was run to compare with; mpdd is not clearly above the chance level of 0.0."
    )
    rows = make_rows(("mpdd", "lora"))
    partial = [row for row in rows if (row.method == "mpdd") == (row.target == "chemprot")]
    assert summary(results_table(partial)) == (
        "2 methods were run on 4 targets, but none on all of them, so there is no common mean."
    )
    assert "significan" not in summary(results_table(rows))


def test_the_fewest_examples_are_in_the_first_words_too() -> None:
    rows = make_rows(("mpdd", "lora"), shots=(8, 32, "all"))
    most, fewest = first_words(results_tables(rows)).split(" With 8 training examples, ")
    assert most == f"With all training examples, {summary(results_tables(rows)[0])}"
    eight = results_table([row for row in rows if row.shots == 8])
    assert fewest.split(";")[0] == summary(eight).split(" on average")[0]
    one = make_rows(("mpdd", "lora"), shots=(8,))
    assert first_words(results_tables(one)) == summary(results_tables(one)[0])


# Curves and pictures


def test_metrics_are_read_in_spite_of_a_half_line(run: Path) -> None:
    records, unread = read_metrics(run / "metrics.jsonl")
    assert len(records) == len(make_metrics())
    assert unread == 1


def test_panels_of_the_stages(run: Path) -> None:
    records, _ = read_metrics(run / "metrics.jsonl")
    adapt = panels_by_task(records, "adapt")
    assert [panel.title for panel in adapt] == sorted(TARGETS)
    assert all(panel.dev for panel in adapt)
    assert {curve.run for curve in adapt[0].best()} == {f"chemprot/{m} lr 0.3, seed 0" for m, c in COSTS.items() if c[1]}
    parts = panels_by_part(records, "distil")
    assert [panel.title for panel in parts] == ["total loss", "task loss", "KL to the teacher", "hidden states"]
    assert max(len(curve.points) for panel in parts for curve in panel.curves) <= 120


def test_losses_that_are_no_numbers_are_gaps() -> None:
    record = {"stage": "adapt", "run": "r", "method": "mpdd", "task": "t"}
    losses = [3.0, math.nan, math.inf, None, "x", 1.0]
    records = [{**record, "step": step, "loss": loss} for step, loss in enumerate(losses)]
    (panel,) = panels_by_task(records, "adapt")
    assert panel.curves[0].points == ((0.0, 3.0), (5.0, 1.0))
    assert not panel.dev
    assert panels_by_task(records[1:2], "adapt") == ()


def test_a_diverged_run_does_not_squeeze_the_others() -> None:
    record = {"stage": "adapt", "method": "mpdd", "task": "t"}
    good = [{**record, "run": "good", "step": step, "dev_loss": 2 - step / 10} for step in range(10)]
    bad = [{**record, "run": "bad", "step": step, "dev_loss": 10.0 ** (3 * step + 2)} for step in range(10)]
    (panel,) = panels_by_task(good + bad, "adapt")
    picture = str(plots.curve_plot(panel, "t"))
    assert max(map(len, re.findall(r"[-\d.]+", picture))) < 12
    assert ">2</text>" in picture or ">1.5</text>" in picture


def test_every_method_has_a_look_and_a_note_of_its_own() -> None:
    assert set(plots.STYLES) == set(METHODS)
    assert len({(look.family, look.shape) for look in plots.STYLES.values()}) == len(METHODS)
    assert set(wording.METHOD_NOTES) == set(METHODS)


def test_colours_are_defined_for_light_dark_and_print(page: str) -> None:
    for family in {look.family for look in plots.STYLES.values()}:
        assert page.count(f"--{family}: #") == 3


def test_the_shots_picture_needs_two_amounts() -> None:
    assert plots.shots_plot(results_tables(make_rows(("mpdd",)))) is None
    drawn = plots.shots_plot(results_tables(make_rows(("mpdd", "lora"), shots=(8, "all"))))
    assert drawn is not None and drawn.count('class="interval"') == 4  # of each method at each amount


def test_the_mean_and_the_costs_stand_before_many_targets(page: str) -> None:
    heads = plain(section(page, "scores").split("<thead>")[1].split("</thead>")[0])
    assert heads.index("Mean") < heads.index("Trainable") < heads.index("Stored") < heads.index("n = ")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (wording.percent(0.000052), "0.0052 %"),
        (wording.percent(0), "0 %"),
        (wording.percent(1), "100 %"),
        (wording.percent(0.124), "12 %"),
        (wording.size(900), "900 B"),
        (wording.size(999_999), "1 MB"),
        (wording.size(312_000), "312 kB"),
        (wording.duration(0), "0 s"),
        (wording.duration(0.2), "under 1 s"),
        (wording.duration(89), "89 s"),
        (wording.duration(395), "6.6 min"),
        (wording.duration(360_000), "100 h"),
        (wording.short(77_600), "77.6 K"),
        (wording.short(999_900), "1 M"),
        (wording.short(8.03e9), "8.03 B"),
        (wording.parameters(413_796), "413,796"),
        (wording.shots_name(1), "1 training example"),
    ],
)
def test_numbers_with_units(shown: str, expected: str) -> None:
    assert shown.replace(wording.SPACE, " ") == expected


def test_every_metric_has_a_table_of_its_own(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", optional=False)
    cell = {"target": "rqe", "method": "mpdd", "shots": 32, "seed": 0, "values": {"macro_f1": 61.25, "n2c2_strict_micro_f1": 7.0}}
    (folder / "metrics.json").write_text(json.dumps([cell, cell | {"method": "lora", "values": {"macro_f1": 5.0}}]))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "All metrics" in page
    assert "<td>61.2</td><td>7.0</td>" in page
    assert "<td>5.0</td><td></td>" in page


@pytest.mark.parametrize("content", ['{"target": 1}', '[{"target": "rqe"}]', "[3]"])
def test_damaged_metrics_are_named(tmp_path: Path, content: str) -> None:
    make_run(tmp_path, optional=False)
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(InputError, match="metrics.json is not what a run writes"):
        write_report(tmp_path)


# What transfers to what, and where it fails


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", Structure(page).text.replace(wording.SPACE, " ").replace("\u200b", ""))


def section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}">')[1].split("</section>")[0]


def test_transfer_is_a_table_of_targets_by_sources(page: str) -> None:
    shown = section(page, "transfer")
    (found,) = make_transfer()
    target = found["targets"][0]
    assert 'href="#transfer"' in page
    assert shown.count("<tr>") == 1 + len(TARGETS) and shown.count('class="tint') == len(TARGETS) * len(SOURCES)
    assert f"<strong>+{target['similarity'][target['nearest']]:.2f}</strong>" in shown
    assert "\u22121.2 to +7.5" in plain(shown) and 'aria-label="not compared"' in shown
    assert f"Over 3 targets the similarity to the nearest source and the gain have a rank correlation (Spearman) of "\
           f"{found['correlation']['value']:+.2f}" in plain(shown)  # fmt: skip
    assert "upright" not in shown and "<details>" not in shown


def test_confidence_is_shown_beside_how_often_it_is_right(page: str) -> None:
    shown = plain(section(page, "reliability"))
    assert 'href="#reliability"' in page
    assert "90 %50 %2" in shown and "before it was scaled on 50 of dev" in shown


def test_transfer_from_many_sources_and_at_several_shots(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", optional=False)
    sources = tuple(f"source_{number}" for number in range(9))
    (run / "transfer.json").write_text(json.dumps(make_transfer(sources, ("all", 32))))
    shown = section(write_report(run).read_text(encoding="utf-8"), "transfer")
    assert shown.count('class="upright"') == 2 * len(sources)
    assert shown.count("<details>") == 1 and "<summary>32 training examples</summary>" in shown


def test_failures_of_every_kind_are_shown(page: str) -> None:
    shown, text = section(page, "failures"), plain(section(page, "failures"))
    assert 'href="#failures"' in page
    assert shown.count("<figure>") == len({item["target"] for item in FAILURES})
    assert "lora" not in text  # mpdd speaks for the run
    assert "512 of 960 gold entities are right (53 %). The most frequent error: nothing found where gold has something" in text
    assert "DOWNREGULATOR1,6619119012648330" in text and "SUBSTRATE" not in text
    assert "The most frequent error: no taken for yes (25 of 80)." in text and "<strong>85</strong>" in shown
    assert "overlapping8040 %" in text and "An output has 0.81 times the words" in text and "8 others" in text
    assert "Inputs cut to fit the context: 7." in text


def test_where_mpdd_was_not_run_the_best_method_speaks(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows(("zero-shot", "lora", "spot")), optional=False)
    outcomes = {"outcomes": {"right": 70, "wrong": 130, "unparseable": 0}}
    found = [failed("medqa", "options", method, **outcomes) for method in ("zero-shot", "spot", "lora")]
    (run / "failures.json").write_text(json.dumps(found))
    assert "<h4>medqa <span>lora, all training examples, seed 0</span></h4>" in write_report(run).read_text(encoding="utf-8")


def test_without_the_records_there_are_no_such_sections(page: str, tmp_path: Path) -> None:
    bare = write_report(make_run(tmp_path / "run", optional=False)).read_text(encoding="utf-8")
    for name in ("transfer", "failures"):
        assert f'id="{name}"' in page and name not in bare.split("</style>")[1]
    assert "Where it fails" not in bare and "What transfers" not in bare
    (tmp_path / "run" / "transfer.json").write_text("[]")
    (tmp_path / "run" / "failures.json").write_text("[]")
    assert write_report(tmp_path / "run").read_text(encoding="utf-8") == bare


@pytest.mark.parametrize("name", ["transfer.json", "failures.json"])
def test_damaged_records_of_transfer_and_failures_are_named(tmp_path: Path, name: str) -> None:
    make_run(tmp_path, optional=False)
    (tmp_path / name).write_text('[{"target": 1}]')
    with pytest.raises(InputError, match=f"{name} is not what a run writes"):
        write_report(tmp_path)
