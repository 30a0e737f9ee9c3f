"""DDI corpus 2013: which drugs of a sentence interact, and how the text puts it; head is the drug named first.

Sentences without two drugs are dropped, those whose drugs do not interact stay. A tenth of train becomes dev by rule.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import ddi_xml
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard

FILES = ("ddi_corpus/DDICorpus-2013.zip",)
FOLDERS = ("DDICorpus/Train", "DDICorpus/Test/Test for DDI Extraction task")
LABELS = {"effect": "effect", "mechanism": "mechanism", "advise": "advice", "int": "interaction"}


def load(root: Path) -> Splits:
    """Return train and dev cut 90/10 from upstream's train, and the test set for interactions."""
    notes = Notes()
    first, test = (ddi_xml.re_examples(root / FILES[0], folder, LABELS, notes) for folder in FOLDERS)
    train, dev = splits.cut(first, (90, 10))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="ddi",
        type="re",
        instruction="List which drugs interact, by whether the text gives an effect, a mechanism, advice or neither.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=96,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="CC BY-NC 4.0",
    citation="Herrero-Zazo et al. 2013, DDI corpus, Journal of Biomedical Informatics, doi:10.1016/j.jbi.2013.07.011",
)
