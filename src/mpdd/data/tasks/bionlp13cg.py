"""BioNLP 2013 Cancer Genetics: sixteen types of entities, from molecules to organisms, in single sentences.

Upstream gives tokens, joined here by spaces, and neither document ids nor the longer of two overlapping entities.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import conll
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard

PARTS = ("train", "devel", "test")
FILES = tuple(f"bionlp13cg/data/BioNLP13CG-IOB/{part}.tsv" for part in PARTS)
LABELS = {
    "Gene_or_gene_product": "Gene or gene product",
    "Cell": "Cell",
    "Cancer": "Cancer",
    "Simple_chemical": "Chemical",
    "Organism": "Organism",
    "Multi-tissue_structure": "Multi-tissue structure",
    "Tissue": "Tissue",
    "Cellular_component": "Cellular component",
    "Organ": "Organ",
    "Organism_substance": "Organism substance",
    "Pathological_formation": "Pathological formation",
    "Amino_acid": "Amino acid",
    "Immaterial_anatomical_entity": "Immaterial anatomical entity",
    "Organism_subdivision": "Organism subdivision",
    "Anatomical_system": "Anatomical system",
    "Developing_anatomical_structure": "Developing anatomical structure",
}


def load(root: Path) -> Splits:
    """Return the upstream splits."""
    notes = Notes()
    parts = zip(FILES, PARTS, strict=True)
    read = (conll.ner_examples(root / file, LABELS, notes, corpus=f"bionlp13cg:{part}") for file, part in parts)
    train, dev, test = read
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="bionlp13cg",
        type="ner",
        instruction="List the genes, chemicals, cells, cancers, anatomical parts and organisms named in the text.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=64,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="CC BY 4.0 (conversion); original: CC BY-SA 3.0",
    citation="Pyysalo et al. 2013, BioNLP Shared Task, https://aclanthology.org/W13-2008; conversion: Crichton et al. 2017",
)
