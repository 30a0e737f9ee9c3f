"""MeQSum and MEDIQA-QS: consumers' health questions shortened to one; train is MeQSum, dev and test MEDIQA 2021."""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import xlsx
from mpdd.data.readers.base import Notes, Record, build
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

TASK_1 = "mediqa2021_qs/Task1/MEDIQA2021-Task1-"
TRAIN = "meqsum/MeQSum_ACL2019_BenAbacha_Demner-Fushman.xlsx"
DEV = f"{TASK_1}QuestionSummarization-ValidationSet.xlsx"
TEST = f"{TASK_1}TestSet-ReferenceSummaries.xlsx"


def read_examples(path: Path, source: str, columns: tuple[str, str, str], notes: Notes) -> list[Example]:
    """Return the questions of a workbook; `columns` are those of the id, the question and the summary."""

    def example(record: Record) -> Example:
        name = f"{source}:{record[columns[0]]}"
        return Example(name, name, record.text(columns[1]), Answer(text=record.text(columns[2])))

    return build(xlsx.read(path, columns, notes), example, notes)


def load(root: Path) -> Splits:
    """Return MeQSum as train, the MEDIQA-QS validation set as dev and its 100 test questions as test."""
    notes = Notes()
    train = read_examples(root / TRAIN, "meqsum", ("File", "CHQ", "Summary"), notes)
    dev, test = (read_examples(root / file, "mediqa-qs", ("q_id", "NLM Question", "Summary"), notes) for file in (DEV, TEST))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="meqsum",
        type="summarization",
        instruction="Summarize the health question in one short question.",
        text_field="Question",
        max_answer_tokens=48,
    ),
    role="target",
    files=(TRAIN, DEV, TEST),
    load=load,
    licence="CC BY 4.0",
    citation="Ben Abacha and Demner-Fushman 2019, MeQSum, ACL P19-1215; Ben Abacha et al. 2021, ACL 2021.bionlp-1.8",
)
