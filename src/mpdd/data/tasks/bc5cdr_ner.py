"""BC5CDR, chemicals and diseases named in PubMed abstracts, in windows of sentences; composite mentions are whole."""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import pubtator
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard

FOLDER = "bc5cdr/CDR.Corpus.v010516"
FILES = tuple(f"{FOLDER}/CDR_{part}Set.PubTator.txt" for part in ("Training", "Development", "Test"))
LABELS = {"Chemical": "Chemical", "Disease": "Disease"}


def load(root: Path) -> Splits:
    """Return the upstream splits."""
    notes = Notes()
    train, dev, test = (pubtator.ner_examples(root / file, LABELS, notes) for file in FILES)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="bc5cdr_ner",
        type="ner",
        instruction="List the chemicals and the diseases named in the text.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=64,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="public domain (US government work)",
    citation="Li et al. 2016, BioCreative V CDR task corpus, Database, doi:10.1093/database/baw068",
)
