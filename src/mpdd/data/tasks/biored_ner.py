"""BioRED, six entity types in PubMed abstracts, read in windows of sentences."""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import pubtator
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard

FILES = tuple(f"biored/BioRED/{part}.PubTator" for part in ("Train", "Dev", "Test"))
LABELS = {
    "GeneOrGeneProduct": "Gene",
    "DiseaseOrPhenotypicFeature": "Disease",
    "ChemicalEntity": "Chemical",
    "SequenceVariant": "Variant",
    "OrganismTaxon": "Species",
    "CellLine": "Cell line",
}


def load(root: Path) -> Splits:
    """Return the upstream splits."""
    notes = Notes()
    train, dev, test = (pubtator.ner_examples(root / file, LABELS, notes) for file in FILES)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="biored_ner",
        type="ner",
        instruction="List the genes, diseases, chemicals, variants, species and cell lines named in the text.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=80,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="public domain (US government work)",
    citation="Luo et al. 2022, BioRED, Briefings in Bioinformatics, doi:10.1093/bib/bbac282",
)
