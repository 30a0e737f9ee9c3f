"""lm-evaluation-harness on exported tasks gives the scores that `predict` and our metrics give, one task of each kind of answer.

Needs `pip install "mpdd[harness]"` here, or MPDD_LM_EVAL_PYTHON, the Python of an environment with lm_eval and what mpdd needs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
import torch

import mpdd
from mpdd.backbone import model as backbones
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER
from mpdd.data import catalogue
from mpdd.data.mixture import few_shot
from mpdd.evaluation.harness.tasks import Exporting, write
from mpdd.evaluation.metrics import score
from mpdd.inference.predict import Request, predict
from tests.data.cards.conftest import CARDS, lines, record
from tests.e2e.conftest import MIRROR

pytestmark = pytest.mark.e2e
PUBLIC = ("ncbi_disease", "ddi", "pubmedqa", "mmlu_medical", "covidqa", "rqe", "meqsum")
INVENTED = ("free", "single", "multiple")  # kinds of answers that no task of Open-31 has
EXAMPLES = 20


@pytest.fixture(scope="module")
def python():
    """The Python that has lm_eval."""
    if named := os.environ.get("MPDD_LM_EVAL_PYTHON"):
        return named
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm_eval is not installed, and MPDD_LM_EVAL_PYTHON is not set")
    return sys.executable


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Tasks of Open-31, and cards with invented data."""
    if not MIRROR.is_dir():
        pytest.skip("no real data: MPDD_MIRROR is not set")
    folder = tmp_path_factory.mktemp("cards")
    for kind in INVENTED:
        (folder / f"{kind}.jsonl").write_text(lines([record(kind, n) for n in range(40)]))
        data = {"format": "jsonl", "train": f"{kind}.jsonl"}
        values = {"name": kind, "instruction": "Answer.", "max_answer_tokens": 16, **CARDS[kind], "data": data}
        (folder / f"{kind}.toml").write_text(tomli_w.dumps(values))
    return [*PUBLIC, *(str(folder / f"{kind}.toml") for kind in INVENTED)]


def test_the_same_scores(python, names, tmp_path):
    backbone = backbones.load(dtype=torch.float32, device="cpu")
    write(names, tmp_path / "tasks", Exporting({"train": 0, "dev": 0, "test": EXAMPLES}, backbone.vocabulary))
    source = str(Path(mpdd.__file__).parents[1])
    environment = {
        **os.environ, "PYTHONPATH": source, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    command = [
        python, "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={EMBEDDED_FOLDER},dtype=float32",
        "--include_path", tmp_path / "tasks", "--tasks", "mpdd", "--device", "cpu", "--batch_size", "1",
        "--output_path", tmp_path / "results", "--log_samples",
    ]  # fmt: skip
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (tmp_path / "results").rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"]
    for name in names:
        task, examples = catalogue.get(name), few_shot(catalogue.load(name).test, EXAMPLES, 0)
        predictions = predict(backbone, [Request(task.card, example) for example in examples])
        values = score(task.card, examples, [prediction.parsed for prediction in predictions]).values
        found = {metric: theirs[f"mpdd_{task.name}"][f"{metric},none"] for metric in values}
        assert found == pytest.approx(values, abs=1e-9), task.name
        if task.card.type not in ("nli",) and task.card.form not in ("choice", "single"):
            (samples,) = (tmp_path / "results").rglob(f"samples_mpdd_{task.name}_*.jsonl")
            rows = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda row: row["doc_id"])
            assert [row["resps"][0][0].strip() for row in rows] == [prediction.output for prediction in predictions], task.name
    assert len(theirs) == len(names)
    assert sum(theirs[f"mpdd_{name}"][f"{catalogue.get(name).headline},none"] > 0 for name in PUBLIC) >= 5
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]  # no text outside the folders named
