"""Nine tasks over synthetic notes: six sources, and three targets of different types with words and wordings of their own.

Every task makes its examples one by one from their numbers, which set the right choice, so that choices are balanced.
Data is made when a task is loaded, always the same, from nothing but the package's own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

from mpdd.data.arguments import relation_example, surface_forms
from mpdd.data.readers.base import Notes
from mpdd.data.synthetic.notes import Deck, Fact, Note, Side, capital, world, write
from mpdd.data.task import SPLITS, Answer, Entity, Example, Splits, Task, TaskCard, TaskType

SIZES = (300, 60, 120)
WORDS = range(20, 61)
COUNTS = (0, 1, 1, 2, 2, 3)
YES_NO = ("yes", "no")
QUESTIONS = (
    "Which drug was given for {}?",
    "What does the patient take for {}?",
    "Which of these drugs treats the patient's {}?",
)
COURSES = {  # how a condition does: how an impression says so, and what may be done about its drug
    "new": ("Newly diagnosed", ("started",)),
    "worse": ("Worsening", ("started", "increased")),
    "stable": ("Stable", ("continued", "reduced")),
    "better": ("Improving", ("continued", "reduced", "stopped")),
}
TESTS = ("blood tests", "a chest X-ray", "a urine sample", "an ECG", "an ultrasound scan", "a hearing test")
LATER = ("in three days", "in one week", "in two weeks", "in a month")
STATED = "Does the note state that the patient has the condition? Answer yes or no."
Make = Callable[[Deck, int], Example]


def drugs(deck: Deck, number: int) -> Example:
    """Return a note with its drugs."""
    count = COUNTS[number % len(COUNTS)]
    facts = [*_some(deck, ("treat", "dosed", "bare"), count), *_some(deck, ("has", "lacks", "symptom"), 3 - count)]
    return _entities(_note(deck, facts), {"drug": "Drug"})


def conditions(deck: Deck, number: int) -> Example:
    """Return a note with its conditions and symptoms, whether the patient has them or not."""
    count = COUNTS[number % len(COUNTS)]
    kinds = ("has", "lacks", "family", "treat", "symptom", "symptom_both", "denied")
    facts = [*_some(deck, kinds, count), *_some(deck, ("dosed", "bare"), 1 if count else 2)]
    note = _note(deck, facts) if count else write(deck, facts)
    return _entities(note, {"condition": "Condition", "symptom": "Symptom"})


def dosage(deck: Deck, number: int) -> Example:
    """Return a note with which drug has which dose; some of its drugs have none."""
    count = COUNTS[number % len(COUNTS)]
    dosed = _some(deck, ("dosed_both",), 1) if count == 2 and deck.rng.random() < 0.5 else _some(deck, ("dosed",), count)
    note = _note(deck, [*dosed, *_some(deck, ("bare", "treat"), 1), *_some(deck, ("has", "lacks"), 1)])
    forms = {f"{m.start}:{m.end}": note.text[m.start : m.end] for m in note.mentions if m.kind in ("drug", "dose")}
    key = {form.casefold(): place for place, form in forms.items()}  # no word comes twice in a note
    pairs = [(words[f"drug{n}"], words[f"dose{n}"]) for _, words in dosed for n in ("", "2") if f"drug{n}" in words]
    relations = [("dose", key[drug.casefold()], key[dose.casefold()]) for drug, dose in pairs]
    return relation_example("", "", note.text, relations, surface_forms(list(forms.items())), Notes())


def treatment(deck: Deck, number: int) -> Example:
    """Return a note of two or three treatments with a question for one; the other drugs are options, too."""
    facts = _some(deck, ("treat",), deck.rng.choice((2, 3)))
    (_, asked), *others = deck.rng.sample(facts, len(facts))
    names = [words["drug"] for _, words in others]
    rivals = [drug for drug in deck.world.drugs if drug.name not in (asked["drug"], *names)]
    rivals = sorted(deck.rng.sample(rivals, len(rivals)), key=lambda drug: drug.condition != asked["condition"])
    wrong = deck.rng.sample([*names, *(drug.name for drug in rivals)][:3], 3)
    right = number % 4
    question = deck.rng.choice(QUESTIONS).format(asked["condition"])
    choices = (*wrong[:right], asked["drug"], *wrong[right:])
    return _asked(_note(deck, facts), right, ("Question", question), choices)


def has_condition(deck: Deck, number: int) -> Example:
    """Return a note that states some conditions and negates others, or gives them to a relative, asked about one."""
    present = _some(deck, ("has", "treat"), deck.rng.choice((1, 2)))
    absent = _some(deck, ("lacks", "lacks", "family"), deck.rng.choice((1, 2)))
    answer = number % 2
    _, words = deck.rng.choice((present, absent)[answer])
    unsaid = answer == 1 and deck.rng.random() < 0.2
    condition = deck.condition() if unsaid else words["condition"]
    return _asked(_note(deck, [*present, *absent]), answer, ("Statement", f"The patient has {condition}."))


def impression(deck: Deck, number: int) -> Example:
    """Return a note on how a condition does and what was done about its drug, and that in one line."""
    drug = deck.drug()
    course = list(COURSES)[number % len(COURSES)]
    word, actions = COURSES[course]
    action = deck.rng.choice(actions)
    facts: list[Fact] = [(course, {"condition": drug.condition}), (action, {"drug": drug.name})]
    note = _note(deck, [*facts, *_some(deck, ("has", "lacks", "denied"), 1)])
    return _example(note, Answer(text=f"{word} {drug.condition}: {drug.name} {action}."))


def anatomy(deck: Deck, number: int) -> Example:
    """Return a note with its body parts."""
    count = COUNTS[number % len(COUNTS)]
    facts = [*_some(deck, ("part", "part", "part_both"), count), *_some(deck, ("past", "treat"), 1 if count else 2)]
    return _entities(_note(deck, facts), {"part": "Body part"})


def allergy(deck: Deck, number: int) -> Example:
    """Return a note asked about a drug: one that it warns of, or one that the patient takes or tolerates."""
    answer = number % 2
    warned = answer == 0 or deck.rng.random() < 0.75
    warning = deck.fact("allergy" if warned else "none_known")
    safe = _some(deck, ("tolerated", "treat", "cleared"), deck.rng.choice((1, 2)))
    _, words = warning if answer == 0 else deck.rng.choice(safe)
    statement = f"The patient is allergic to {words['drug']}."
    return _asked(_note(deck, [warning, *safe]), answer, ("Statement", statement))


def plan(deck: Deck, number: int) -> Example:
    """Return a note with two or three things to be done, and these in one sentence."""
    drug, test, later = deck.drug(), deck.rng.choice(TESTS), deck.rng.choice(LATER)
    dose = deck.dose(drug)
    steps: list[tuple[str, Fact]] = [
        (f"start {drug.name} {dose}", ("start", {"drug": drug.name, "dose": dose})),
        (f"get {test}", ("test", {"test": test})),
        (f"review {later}", ("review", {"later": later})),
    ]
    if deck.rng.random() < 0.4:
        steps[0] = (f"stop {drug.name}", ("stop", {"drug": drug.name}))
    steps = [step for place, step in enumerate(steps) if place != number % 4]
    note = _note(deck, [("has", {"condition": drug.condition}), *(fact for _, fact in steps)])
    return _example(note, Answer(text=capital(", ".join(words for words, _ in steps)) + "."))


def _some(deck: Deck, kinds: Sequence[str], count: int) -> list[Fact]:
    return [deck.fact(deck.rng.choice(kinds)) for _ in range(count)]


def _note(deck: Deck, facts: Sequence[Fact]) -> Note:
    return write(deck, facts, symptom=deck.symptom() if deck.rng.random() < 0.7 else "")


def _example(note: Note, gold: Answer) -> Example:
    return Example("", "", note.text, gold)


def _entities(note: Note, labels: Mapping[str, str]) -> Example:
    entities = (Entity(m.start, m.end, labels[m.kind]) for m in note.mentions if m.kind in labels)
    return _example(note, Answer(entities=tuple(sorted(entities))))


def _asked(note: Note, choice: int, field: tuple[str, str], choices: tuple[str, ...] = ()) -> Example:
    return replace(_example(note, Answer(choice=choice)), fields=(field,), choices=choices)


def _generate(name: str, role: Side, make: Make, _root: Path) -> Splits:
    """Return the splits, each note its own document; the data store's root is not used."""
    examples = _distinct(role, make, Random(name))
    train, dev, test = (
        tuple(replace(next(examples), id=f"{name}:{split}/{n}", document=f"{name}:{split}/{n}") for n in range(size))
        for split, size in zip(SPLITS, SIZES, strict=True)
    )
    return Splits(train, dev, test)


def _distinct(role: Side, make: Make, rng: Random) -> Iterator[Example]:
    """Yield examples without end, none with a text that came before, all of the wanted length."""
    seen: set[str] = set()
    number = 0
    while True:
        example = make(Deck(rng, world(role)), number)
        if len(example.text.split()) in WORDS and example.text not in seen:
            seen.add(example.text)
            number += 1
            yield example


def _task(
    make: Make,
    role: Side,
    kind: TaskType,
    instruction: str,
    labels: tuple[str, ...] = (),
    fields: tuple[str, ...] = (),
    max_answer_tokens: int = 64,
) -> Task:
    name = f"synthetic_{make.__name__}"
    return Task(
        card=TaskCard(name, kind, instruction, labels, "Note", fields, max_answer_tokens),
        role=role,
        files=(),
        load=partial(_generate, name, role, make),
        licence="Apache-2.0 (made by mpdd)",
        citation="synthetic, made by mpdd.data.synthetic",
    )


_ALL = (
    _task(drugs, "source", "ner", "List the drugs named in the note.", ("Drug",)),
    _task(conditions, "source", "ner", "List the conditions and symptoms named in the note.", ("Condition", "Symptom")),
    _task(dosage, "source", "re", "List which drug in the note has which dose.", ("dose",)),
    _task(treatment, "source", "qa", "Choose the drug that answers the question.", (), ("Question",), 16),
    _task(has_condition, "source", "nli", STATED, YES_NO, ("Statement",), 8),
    _task(impression, "source", "summarization", "Write a one-line impression of the note."),
    _task(anatomy, "target", "ner", "List the body parts named in the note.", ("Body part",)),
    _task(allergy, "target", "nli", "Is the patient allergic to the drug? Answer yes or no.", YES_NO, ("Statement",), 8),
    _task(plan, "target", "summarization", "Write the plan of the note in one sentence."),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _ALL}
SOURCES = tuple(task.name for task in _ALL if task.role == "source")
TARGETS = tuple(task.name for task in _ALL if task.role == "target")
