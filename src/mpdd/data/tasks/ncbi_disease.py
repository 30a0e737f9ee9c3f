"""NCBI Disease: disease mentions in PubMed abstracts; the four upstream types are merged into one."""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import pubtator
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard

FILES = tuple(
    f"ncbi_disease/original-data/{folder}/NCBI{name}set_corpus.txt"
    for folder, name in (("train", "train"), ("devel", "develop"), ("test", "test"))
)
LABELS = dict.fromkeys(("SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"), "Disease")


def load(root: Path) -> Splits:
    """Return the upstream splits; train repeats PMID 8528200, of which the first copy stays."""
    notes = Notes()
    train, dev, test = (pubtator.ner_examples(root / file, LABELS, notes) for file in FILES)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="ncbi_disease",
        type="ner",
        instruction="List the diseases named in the text.",
        labels=("Disease",),
        max_answer_tokens=64,
    ),
    role="target",
    files=FILES,
    load=load,
    licence="public domain (US government work)",
    citation="Dogan et al. 2014, NCBI Disease Corpus, Journal of Biomedical Informatics, PMID 24393765",
)
