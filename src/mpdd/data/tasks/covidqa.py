"""COVID-QA: answer a question with words of a scientific article on the coronavirus (extractive, as SQuAD).

Articles are long: the text given is the window that holds the answer, in every split (see `passages`). Answers over a
window's edge are dropped. Upstream has no split: articles are cut 70/10/20 by rule.
"""

from collections.abc import Iterator
from pathlib import Path

from mpdd.data import splits
from mpdd.data.passages import gold_windows
from mpdd.data.readers import squad
from mpdd.data.readers.base import Notes
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

FILES = ("covidqa/200423_covidQA.json",)


def examples(questions: list[squad.Question], notes: Notes) -> Iterator[tuple[Example, int, int]]:
    """Yield each question with its answer's offsets; one that is asked again of an article is dropped."""
    asked: set[tuple[str, str]] = set()
    for question in questions:
        key = (question.document, splits.fingerprint(question.text))
        if key in asked:
            notes.count("questions asked again")
        else:
            yield example(question), question.start, question.end
        asked.add(key)


def example(question: squad.Question) -> Example:
    """Return one question to its whole article."""
    document = f"covidqa:{question.document}"
    return Example(
        id=f"{document}/{question.number}",
        document=document,
        text=question.context,
        fields=(("Question", question.text),),
        gold=Answer(text=question.context[question.start : question.end]),
    )


def load(root: Path) -> Splits:
    """Return the questions, their articles cut by the rule in `splits`."""
    notes = Notes()
    questions = squad.read(root / FILES[0], notes)
    train, dev, test = splits.cut(list(gold_windows(examples(questions, notes), notes)), (70, 10, 20))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="covidqa",
        type="qa",
        instruction="Answer the question with words from the text.",
        fields=("Question",),
        max_answer_tokens=160,
        form="extractive",
    ),
    role="source",
    files=FILES,
    load=load,
    licence="Apache-2.0",
    citation="Moeller et al. 2020, COVID-QA, ACL workshop on NLP for COVID-19, https://aclanthology.org/2020.nlpcovid19-acl.18",
)
