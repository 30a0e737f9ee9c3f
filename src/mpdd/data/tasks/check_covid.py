"""Check-COVID: does evidence from a journal abstract support or refute a news claim, or is it not enough.

The premise is the marked evidence sentences, not the whole abstract: upstream makes "not enough information" by giving
the same claim a sentence of the same abstract that does not bear on it. Extracted and composed claims are both used.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import json_files
from mpdd.data.readers.base import Notes, Record, build, tidy
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

CORPUS = "check_covid/corpus.json"
PARTS = {
    part: tuple(f"check_covid/covidCheck_{part}_{kind}.json" for kind in ("composed", "extracted"))
    for part in ("train", "dev", "test")
}
FIELDS = {"id": str, "claim": str, "cord_id": str, "label": str, "evidence_set": list}
LABELS = {"SUPPORT": "support", "REFUTE": "refute", "NOTENOUGHINFO": "not enough information"}


def example(record: Record, abstracts: dict[str, list[str]]) -> Example:
    """Return one claim with its evidence sentences in the abstract's order."""
    sentences = abstracts[record["cord_id"]]
    marked = sorted({evidence["sent_index"] for evidence in record["evidence_set"]})
    return Example(
        id=f"check-covid:{record['id']}",
        document=f"cord:{record['cord_id']}",
        text=" ".join(tidy(sentences[index]) for index in marked),
        fields=(("Claim", record.text("claim")),),
        gold=Answer(choice=list(LABELS).index(record["label"])),
    )


def load(root: Path) -> Splits:
    """Return the upstream splits; the document is the abstract's CORD-19 id."""
    notes = Notes()
    corpus = json_files.read_jsonl(root / CORPUS, {"cord_id": str, "abstract": list}, notes)
    abstracts = {record["cord_id"]: record["abstract"] for record in corpus}

    def read_part(part: str) -> list[Example]:
        records = [record for file in PARTS[part] for record in json_files.read_jsonl(root / file, FIELDS, notes)]
        return build(records, lambda record: example(record, abstracts), notes)

    return splits.make(read_part("train"), read_part("dev"), read_part("test"), notes)


TASK = Task(
    card=TaskCard(
        name="check_covid",
        type="nli",
        instruction="Does the evidence support or refute the claim, or is there not enough information?",
        labels=tuple(LABELS.values()),
        text_field="Evidence",
        fields=("Claim",),
        max_answer_tokens=8,
    ),
    role="target",
    files=(CORPUS, *(file for files in PARTS.values() for file in files)),
    load=load,
    licence="MIT",
    citation="Wang et al. 2023, Check-COVID, Findings of ACL, arXiv:2305.18265",
)
