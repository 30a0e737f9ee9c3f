"""COVID-QA: answer a question with words of a scientific article on the coronavirus (extractive, as SQuAD).

Articles are long, so this is the gold-context setting, in every split: an article is cut into windows of whole
sentences by the rule in `windows`, which does not look at answers, and the text given is the window that holds the
answer. Scores say how well an answer is picked out of some 200 words, not out of an article. Answers over a window's
edge are dropped. Upstream has no split: articles are cut 70/10/20 by rule.
"""

from collections.abc import Iterator
from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import squad
from mpdd.data.readers.base import Notes
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard
from mpdd.data.windows import windows

FILES = ("covidqa/200423_covidQA.json",)
MAX_CHARS = 1200


def examples(questions: list[squad.Question], notes: Notes) -> Iterator[Example]:
    """Yield each question with the window that holds its answer; a question asked again of an article is dropped."""
    cut = {question.document: windows(question.context, MAX_CHARS) for question in questions}
    asked: set[tuple[str, str]] = set()
    for question in questions:
        key = (question.document, splits.fingerprint(question.text))
        held = next((span for span in cut[question.document] if span[0] <= question.start and question.end <= span[1]), None)
        if key in asked:
            notes.count("questions asked again")
        elif held is None:
            notes.count("answers across a window's edge")
        else:
            yield example(question, *held)
        asked.add(key)


def example(question: squad.Question, start: int, end: int) -> Example:
    """Return one question to the window from `start` to `end` of its article."""
    document = f"covidqa:{question.document}"
    return Example(
        id=f"{document}/{question.number}",
        document=document,
        text=question.context[start:end],
        fields=(("Question", question.text),),
        gold=Answer(text=question.context[question.start : question.end]),
        offset=start,
    )


def load(root: Path) -> Splits:
    """Return the questions, their articles cut by the rule in `splits`."""
    notes = Notes()
    questions = squad.read(root / FILES[0], notes)
    train, dev, test = splits.cut(list(examples(questions, notes)), (70, 10, 20))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="covidqa",
        type="qa",
        instruction="Answer the question with words from the text.",
        fields=("Question",),
        max_answer_tokens=160,
        extractive=True,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="Apache-2.0",
    citation="Moeller et al. 2020, COVID-QA, ACL workshop on NLP for COVID-19, https://aclanthology.org/2020.nlpcovid19-acl.18",
    headline="token_f1",
)
