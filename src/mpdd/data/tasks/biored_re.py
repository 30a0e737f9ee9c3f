"""BioRED, eight undirected relation types between concepts of a whole title and abstract; novelty is not used."""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import pubtator
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard

FILES = tuple(f"biored/BioRED/{part}.PubTator" for part in ("Train", "Dev", "Test"))
LABELS = {
    "Association": "association",
    "Positive_Correlation": "positive correlation",
    "Negative_Correlation": "negative correlation",
    "Bind": "binding",
    "Cotreatment": "co-treatment",
    "Comparison": "comparison",
    "Drug_Interaction": "drug interaction",
    "Conversion": "conversion",
}


def load(root: Path) -> Splits:
    """Return the upstream splits; head is the concept mentioned first. Ids are parted by commas (`|` is inside ids)."""
    notes = Notes()
    read = (pubtator.re_examples(root / file, LABELS, notes, separator=",", directed=False) for file in FILES)
    train, dev, test = read
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="biored_re",
        type="re",
        instruction="List how the genes, diseases, chemicals and variants of the text are related.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=448,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="public domain (US government work)",
    citation="Luo et al. 2022, BioRED, Briefings in Bioinformatics, doi:10.1093/bib/bbac282",
)
