"""AnatEM: twelve types of anatomical entities, from organisms' parts to cells, in abstracts and parts of articles."""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import brat, standoff
from mpdd.data.readers.base import Notes
from mpdd.data.store import registry
from mpdd.data.task import Splits, Task, TaskCard

FOLDER = "anatem/original-data/standoff"
PARTS = ("train", "devel", "test")
LABELS = {
    name: name.replace("_", " ")
    for name in (
        "Cell",
        "Cancer",
        "Multi-tissue_structure",
        "Organ",
        "Tissue",
        "Cellular_component",
        "Organism_substance",
        "Pathological_formation",
        "Organism_subdivision",
        "Immaterial_anatomical_entity",
        "Anatomical_system",
        "Developing_anatomical_structure",
    )
}


def article(stem: str) -> str:
    """Return the id of the abstract or article that a file named PMID-1 or PMC-1-sec-02 comes from."""
    source, number = stem.split("-")[:2]
    return f"{source.lower()}:{number}"


def load(root: Path) -> Splits:
    """Return the upstream splits."""
    notes = Notes()
    corpora = (brat.read(root / FOLDER / part, notes) for part in PARTS)
    read = (standoff.ner_examples(corpus, LABELS, notes, corpus="anatem", document=article) for corpus in corpora)
    train, dev, test = read
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="anatem",
        type="ner",
        instruction="List the anatomical entities named in the text.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=64,
    ),
    role="source",
    files=tuple(file for file in registry() if file.startswith(f"{FOLDER}/")),
    load=load,
    licence="CC BY-SA 3.0 (annotations); texts: PubMed, PMC Open Access",
    citation="Pyysalo and Ananiadou 2014, AnatEM, Bioinformatics, doi:10.1093/bioinformatics/btt580",
)
