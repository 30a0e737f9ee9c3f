"""MACCROBAT 2020: 41 types of entities and events in 200 clinical case reports; cut 70/10/20 by report.

The full label set is the task. `coarse` maps an answer to ten groups of our own making (upstream has none), so that
gold and predictions can be scored a second time by them.
"""

from dataclasses import replace
from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import brat, standoff
from mpdd.data.readers.base import Notes
from mpdd.data.store import registry
from mpdd.data.task import Answer, Splits, Task, TaskCard

FOLDER = "maccrobat2020"
GROUPS = {
    "Problem": ("Sign_symptom", "Disease_disorder"),
    "Test": ("Diagnostic_procedure",),
    "Treatment": ("Medication", "Therapeutic_procedure", "Dosage", "Administration"),
    "Anatomy": ("Biological_structure",),
    "Value": ("Lab_value", "Quantitative_concept", "Distance", "Area", "Volume", "Mass", "Weight", "Height"),
    "Description": (
        "Detailed_description", "Severity", "Shape", "Texture", "Color", "Qualitative_concept", "Biological_attribute",
    ),
    "Time": ("Date", "Duration", "Time", "Frequency"),
    "Person": ("Age", "Sex", "Occupation", "Personal_background", "History", "Family_history", "Subject"),
    "Event": ("Clinical_event", "Activity", "Outcome", "Other_event"),
    "Other": ("Nonbiological_location", "Coreference", "Other_entity"),
}  # fmt: skip
LABELS = {name: name.replace("_", " ") for names in GROUPS.values() for name in names}
COARSE = {LABELS[name]: group for group, names in GROUPS.items() for name in names}


def coarse(answer: Answer) -> Answer:
    """Return an answer, gold or predicted, with each label replaced by its group."""
    return replace(answer, entities=tuple(sorted({replace(e, label=COARSE[e.label]) for e in answer.entities})))


def load(root: Path) -> Splits:
    """Return windows of the reports, cut by the rule in `splits`; the document is the report's PMID."""
    notes = Notes()
    documents = brat.read(root / FOLDER, notes)
    examples = standoff.ner_examples(documents, LABELS, notes, corpus="maccrobat", document=lambda stem: f"pmid:{stem}")
    train, dev, test = splits.cut(examples, (70, 10, 20))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="maccrobat_ner",
        type="ner",
        instruction="List the clinical events and entities of the case report, such as symptoms, tests and medications.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=160,
    ),
    role="target",
    files=tuple(file for file in registry() if file.startswith(f"{FOLDER}/")),
    load=load,
    licence="CC BY 4.0",
    citation="Caufield et al. 2020, MACCROBAT, figshare, doi:10.6084/m9.figshare.9764942.v2",
    coarse=coarse,
)
