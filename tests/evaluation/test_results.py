import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from mpdd.data.task import FORMS, TaskCard, TaskType
from mpdd.errors import InputError
from mpdd.evaluation.metrics import metrics_for
from mpdd.evaluation.results import (
    HEADLINES,
    METHODS,
    TASK_TYPES,
    Row,
    read_results,
    results_table,
    results_tables,
    write_atomically,
    write_results,
)
from mpdd.evaluation.row import row_order

REPOSITORY = Path(__file__).parents[2]
PLAIN: dict[str, Any] = {
    "method": "mpdd",
    "backbone": "tiny",
    "backbone_parameters": 1_000_000,
    "target": "ncbi_disease",
    "task_type": "ner",
    "shots": "all",
    "seed": 0,
    "metric": "strict_f1",
    "value": 60.0,
    "ci_low": 57.0,
    "ci_high": 62.0,
    "n_examples": 100,
    "chance": 0.0,
    "unparseable": 1.5,
    "trainable_parameters": 400,
    "trainable_fraction": 0.0004,
    "stored_bytes": 1600,
    "train_examples_seen": 800,
    "train_seconds": 12.5,
    "tuning_trials": 3,
}


def row(**changes: Any) -> Row:
    return Row(**{**PLAIN, **changes})


def test_rows_survive_a_file(tmp_path: Path) -> None:
    rows = [row(), row(seed="all", shots=16), row(method="zero-shot", shots=0, value=0)]
    write_results(tmp_path / "results.json", rows)
    assert set(read_results(tmp_path / "results.json")) == set(rows)


def test_the_file_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = [row(seed=s, shots=n, method=m) for s in (0, 1, "all") for n in (8, "all") for m in METHODS[:3]]
    write_results(tmp_path / "a.json", rows)
    write_results(tmp_path / "b.json", rows[::-1])
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_text().startswith('{\n "schema": 1,\n "rows": [')


def test_the_headline_metric_comes_first(tmp_path: Path) -> None:
    write_results(tmp_path / "r.json", [row(metric="lenient_f1"), row()])
    assert [r.metric for r in read_results(tmp_path / "r.json")] == ["strict_f1", "lenient_f1"]


def test_extractive_targets_have_a_headline_of_their_own() -> None:
    span = {"target": "covidqa", "task_type": "qa", "chance": 0.0}
    rows = [row(**span, metric=metric) for metric in ("exact_match", "token_f1")]
    assert [r.metric for r in sorted(rows, key=row_order)] == ["token_f1", "exact_match"]
    assert results_table(rows).columns[0].metric == "token_f1"


def test_the_headline_of_a_classification_depends_on_its_labels() -> None:
    codes = {"target": "codes", "task_type": "classification"}
    multiple = [row(**codes, metric=metric) for metric in ("exact_match", "macro_f1", "micro_f1")]
    assert [r.metric for r in sorted(multiple, key=row_order)] == ["micro_f1", "macro_f1", "exact_match"]
    assert results_table(multiple).columns[0].metric == "micro_f1"
    single = [row(**codes, metric=metric) for metric in ("accuracy", "macro_f1")]
    assert results_table(single).columns[0].metric == "macro_f1"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    write_results(path, [row()])
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "half")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, r"method = 'magic' \(one of zero-shot, in-context, prompt-tuning"),
        ({"task_type": "parsing"}, "one of ner, re, qa"),
        ({"value": float("nan")}, r"value = nan \(a number from 0 to 100"),
        ({"ci_low": 63.0}, "at most ci_high = 62.0"),
        ({"shots": "some"}, "shots = 'some'"),
        ({"shots": -1}, "shots = -1"),
        ({"seed": 1.5}, "seed = 1.5"),
        ({"n_examples": True}, "n_examples = True"),
        ({"target": ""}, "target = ''"),
        ({"trainable_fraction": 4}, "from 0 to 1"),
        ({"train_seconds": float("inf")}, "train_seconds = inf"),
        ({"method": "magic", "seed": -1}, "method = .*; seed = -1"),
    ],
)
def test_unfit_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        row(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("{", "is not JSON; found .* in line 1"),
        ("[]", "found no schema"),
        ('{"rows": []}', 'found no schema; wanted {"schema": 1'),
        ('{"schema": 2, "rows": []}', "found schema 2"),
        ('{"schema": 1}', "not a results file"),
        ('{"schema": 1, "rows": []}', "has no rows"),
        ('{"schema": 1, "rows": [3]}', r"row 1: .*missing \['backbone'"),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_results(tmp_path / "results.json")


def test_every_unfit_row_is_named(tmp_path: Path) -> None:
    renamed = {("score" if name == "value" else name): value for name, value in PLAIN.items()}
    (tmp_path / "r.json").write_text(json.dumps({"schema": 1, "rows": [renamed, PLAIN, {**PLAIN, "seed": -1}]}))
    with pytest.raises(InputError, match=r"row 1: .*unknown \['score'\], missing \['value'\].* row 3: .*seed = -1"):
        read_results(tmp_path / "r.json")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="results.json does not exist"):
        read_results(tmp_path / "results.json")


def test_a_score_stands_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found tiny ncbi_disease all shots mpdd strict_f1 seed 0; wanted one"):
        write_results(tmp_path / "r.json", [row(), row(value=61)])
    with pytest.raises(InputError, match="no results to write"):
        write_results(tmp_path / "r.json", [])


def test_the_schema_document_describes_every_field() -> None:
    document = (REPOSITORY / "docs/results_schema.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", document, re.MULTILINE) == [field.name for field in fields(Row)]
    methods = document.split("## Methods")[1].split("##")[0]
    assert tuple(re.findall(r"`([\w-]+)`", methods)) == METHODS


def test_headlines_are_those_of_the_metrics() -> None:
    assert get_args(TaskType) == TASK_TYPES
    for kind in get_args(TaskType):
        cards = [TaskCard(name="t", type=kind, instruction="", form=form) for form in FORMS.get(kind, ("",))]
        assert {metrics_for(card)[0].name for card in cards} == set(HEADLINES[kind])
        for names in ([metric.name for metric in metrics_for(card)] for card in cards):
            assert names[0] == next(name for name in HEADLINES[kind] if name in names)


# The table


def test_a_single_seed_keeps_its_interval() -> None:
    table = results_table([row(), row(metric="lenient_f1", value=80, ci_high=90)])
    (line,) = table.lines
    assert [(c.target, c.metric, c.n_examples) for c in table.columns] == [("ncbi_disease", "strict_f1", 100)]
    assert line.cells[0] is not None and line.mean is not None
    assert (line.cells[0].value, line.cells[0].low, line.cells[0].high, line.cells[0].unparseable) == (60, 57, 62, 1.5)
    assert line.mean.low == 57
    assert (line.trainable_parameters, line.trainable_fraction, line.stored_bytes) == (400, 0.0004, 1600)


def test_seeds_are_put_together() -> None:
    rows = [row(seed=s, value=v, ci_low=v - 3, ci_high=v + 3, train_seconds=s) for s, v in ((1, 58), (2, 60), (3, 62))]
    (line,) = results_table(rows).lines
    cell = line.cells[0]
    assert cell is not None and cell.seeds == 3
    half = (3**2 + (1.96 * 2 / 3**0.5) ** 2) ** 0.5
    assert (cell.low, cell.value, cell.high) == pytest.approx((60 - half, 60, 60 + half))
    assert line.train_seconds == 2


def test_a_row_over_all_seeds_comes_first() -> None:
    rows = [row(seed=0, value=58), row(seed=1, value=62), row(seed="all", value=60, ci_low=55, ci_high=65)]
    cell = results_table(rows).lines[0].cells[0]
    assert cell is not None and (cell.value, cell.low, cell.high, cell.seeds) == (60, 55, 65, 2)


def test_the_mean_over_targets() -> None:
    other = {"target": "mednli", "task_type": "nli", "metric": "macro_f1", "chance": 20.0}
    rows = [row(), row(**other, value=70, ci_low=66, ci_high=75), row(method="lora")]
    mpdd, lora = results_table(rows).lines
    assert mpdd.mean is not None
    assert (mpdd.mean.low, mpdd.mean.value, mpdd.mean.high) == pytest.approx((62.5, 65, 65 + (4 + 25) ** 0.5 / 2))
    assert lora.cells[1] is None and lora.mean is None
    assert results_table(rows).chance == 10


def test_columns_go_by_task_type_and_methods_by_their_order() -> None:
    nli = {"task_type": "nli", "metric": "macro_f1"}
    rows = [row(method=m, target=t, **k) for m in ("lora", "mpdd") for t, k in (("a_nli", nli), ("z_ner", {}))]
    table = results_table(rows)
    assert [column.target for column in table.columns] == ["z_ner", "a_nli"]
    assert [line.method for line in table.lines] == ["mpdd", "lora"]


def test_shots_have_tables_of_their_own_and_share_zero_shot() -> None:
    rows = [row(shots=shots) for shots in (8, 32, "all")] + [row(method="zero-shot", shots=0), row(shots=0)]
    tables = results_tables(rows)
    assert [table.shots for table in tables] == ["all", 32, 8]
    assert [[line.method for line in table.lines] for table in tables] == [["zero-shot", "mpdd"]] * 3
    assert results_table([row(method="zero-shot", shots=0)]).shots == 0


def test_backbones_have_tables_of_their_own() -> None:
    assert [table.backbone for table in results_tables([row(), row(backbone="large")])] == ["large", "tiny"]


def test_a_metric_that_is_no_headline_is_used_where_it_is_alone() -> None:
    assert results_table([row(metric="lenient_f1")]).columns[0].metric == "lenient_f1"


def test_a_percentile_interval_may_leave_out_the_value() -> None:
    assert row(value=56.0).value < row().ci_low


def test_rows_are_values() -> None:
    assert row() == replace(row(seed=5), seed=0)
    assert isinstance(row(value=3, ci_low=1).value, float)
