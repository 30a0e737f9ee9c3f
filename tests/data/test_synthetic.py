"""The synthetic tasks: the same on every machine, exact, balanced, apart from each other, and made from nothing outside."""

import hashlib
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from string import Formatter

import pytest

import mpdd
from mpdd.data.synthetic import SOURCES, TARGETS, TASKS
from mpdd.data.synthetic.notes import ENTITY_KINDS, world
from mpdd.data.task import SPLITS
from mpdd.data.types import parse, render_target

NOWHERE = Path("/nowhere/at/all")
DIGESTS = {
    "synthetic_drugs": "e6a6718b630d20ab",
    "synthetic_conditions": "cf1df5489796d626",
    "synthetic_dosage": "f1fd5d6ebbc273f1",
    "synthetic_treatment": "89a4e78f692e8bc4",
    "synthetic_has_condition": "3dbf02988782fd01",
    "synthetic_impression": "7ef92dd9fdfdc45f",
    "synthetic_anatomy": "8ca81c1f8e2d0c42",
    "synthetic_allergy": "f6562bae1744837e",
    "synthetic_plan": "51c292491a388a30",
}
VOCABULARY = {"Drug": "drugs", "Condition": "conditions", "Symptom": "symptoms", "Body part": "parts"}
YES_NO = [name for name, task in TASKS.items() if task.card.type == "nli"]

each_task = pytest.mark.parametrize("name", TASKS)


@cache
def made():
    return {name: task.load(NOWHERE) for name, task in TASKS.items()}


def examples(name):
    return [example for split in SPLITS for example in made()[name][split]]


def words(side):
    made = world(side)
    drugs = [drug.name for drug in made.drugs]
    return {"drugs": drugs, "conditions": made.conditions, "symptoms": made.symptoms, "parts": (*made.sided, *made.midline)}


def places(text, word):
    return [match.span() for match in re.finditer(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)]


def sentences_with(text, word):
    return [sentence for sentence in re.split(r"(?<=\w\w\.) ", text) if places(sentence, word)]


def test_there_are_six_sources_and_three_targets_of_different_types():
    assert (len(SOURCES), len(TARGETS)) == (6, 3)
    assert set(SOURCES) | set(TARGETS) == set(TASKS)
    assert all(TASKS[name].role == "source" for name in SOURCES)
    assert all(TASKS[name].role == "target" for name in TARGETS)
    assert {TASKS[name].card.type for name in SOURCES} == {"ner", "re", "qa", "nli", "summarization"}
    assert len({TASKS[name].card.type for name in TARGETS}) == 3
    assert all(task.name == name and task.files == () for name, task in TASKS.items())


@each_task
def test_data_is_pinned(name):
    lines = [f"{e.id}\t{e.text}\t{e.fields}\t{e.choices}\n" for e in examples(name)]
    assert hashlib.sha256("".join(lines).encode()).hexdigest()[:16] == DIGESTS[name]


@each_task
def test_data_is_the_same_when_made_again(name):
    assert TASKS[name].load(Path(".")) == made()[name]


@each_task
def test_sizes_lengths_and_ids(name):
    assert [len(made()[name][split]) for split in SPLITS] == [300, 60, 120]
    assert all(20 <= len(example.text.split()) <= 60 for example in examples(name))
    assert all(example.id == example.document and example.id.startswith(f"{name}:") for example in examples(name))
    assert len({example.id for example in examples(name)}) == 480
    assert not re.search(r"[{}]|\s\s|\bNone\b", "".join(example.text for example in examples(name)))


def test_no_text_comes_twice_in_any_split_or_task():
    texts = Counter(example.text for name in TASKS for example in examples(name))
    assert max(texts.values()) == 1


@each_task
def test_gold_written_as_text_reads_back_as_gold(name):
    card = TASKS[name].card
    for example in examples(name):
        read = parse(card, example, render_target(card, example))
        assert (read.answer, read.unparseable, read.ungrounded) == (example.gold, False, 0)


@each_task
def test_gold_is_sorted_and_of_the_cards_labels(name):
    card = TASKS[name].card
    for example in examples(name):
        items = (*example.gold.entities, *example.gold.relations)
        assert list(example.gold.entities) == sorted(set(example.gold.entities))
        assert list(example.gold.relations) == sorted(set(example.gold.relations))
        assert {item.label for item in items} <= set(card.labels)
        assert tuple(field for field, _ in example.fields) == card.fields
    limit = 1.5 * max(len(render_target(card, example).split()) for example in examples(name))
    assert limit <= card.max_answer_tokens


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.card.type == "ner"])
def test_entities_are_exactly_the_words_of_the_vocabulary_that_the_note_has(name):
    vocabulary = words(TASKS[name].role)
    for example in examples(name):
        for label in TASKS[name].card.labels:
            gold = [(e.start, e.end) for e in example.gold.entities if e.label == label]
            named = sorted(place for word in vocabulary[VOCABULARY[label]] for place in places(example.text, word))
            assert [end for _, end in gold] == [end for _, end in named]
            before = [example.text[start:place] for (start, _), (place, _) in zip(gold, named, strict=True)]
            assert set(before) <= ({"", "left ", "right "} if label == "Body part" else {""})


@pytest.mark.parametrize("name", ["synthetic_drugs", "synthetic_conditions", "synthetic_dosage", "synthetic_anatomy"])
def test_every_split_has_notes_with_nothing_in_them(name):
    for split in SPLITS:
        empty = [not (e.gold.entities or e.gold.relations) for e in made()[name][split]]
        assert 0.1 <= sum(empty) / len(empty) <= 0.3


def test_doses_belong_to_the_drug_they_are_of():
    doses = {drug.name: drug.doses for drug in world("source").drugs}
    for example in examples("synthetic_dosage"):
        for key, forms in example.arguments.items():
            start, end = map(int, key.split(":"))
            assert forms == (example.text[start:end],)
        for relation in example.gold.relations:
            (drug,), (dose,) = example.arguments[relation.head], example.arguments[relation.tail]
            assert dose in doses[drug.lower()]
            assert len(sentences_with(example.text, drug)) == 1
            assert sentences_with(example.text, drug)[0] in sentences_with(example.text, dose)


@pytest.mark.parametrize("name", YES_NO)
def test_yes_and_no_are_balanced_in_every_split(name):
    for split in SPLITS:
        chosen = [example.gold.choice for example in made()[name][split]]
        assert 0.35 <= sum(chosen) / len(chosen) <= 0.65


def test_options_are_four_different_drugs_and_right_equally_often():
    for split in SPLITS:
        loaded = made()["synthetic_treatment"][split]
        assert Counter(example.gold.choice for example in loaded) == dict.fromkeys(range(4), len(loaded) // 4)
        assert all(len(set(example.choices)) == 4 for example in loaded)


def test_only_the_note_tells_which_drug_was_given():
    for example in examples("synthetic_treatment"):
        right = example.choices[example.gold.choice]
        drug = next(drug for drug in world("source").drugs if drug.name == right)
        (stated,) = sentences_with(example.text, right)
        assert places(stated, drug.condition)
        assert places(example.fields[0][1], drug.condition)
        assert sum(bool(places(example.text, option)) for option in example.choices) >= 2


def test_yes_is_about_a_condition_that_is_neither_negated_nor_a_relatives():
    against = re.compile(r"No history|ruled out|not have|no sign|negative|Never|mother|father|sister|brother|aunt")
    for example in examples("synthetic_has_condition"):
        condition = example.fields[0][1].removeprefix("The patient has ").removesuffix(".")
        stated = sentences_with(example.text, condition)
        assert [bool(against.search(sentence)) for sentence in stated] in (
            ([False],) if example.gold.choice == 0 else ([True], [])
        )


def test_yes_is_about_a_drug_that_the_note_warns_of():
    warns = re.compile(r"Allergic to|avoid|allergy band|Anaphylaxis|alert card")
    for example in examples("synthetic_allergy"):
        drug = example.fields[0][1].removeprefix("The patient is allergic to ").removesuffix(".")
        (stated,) = sentences_with(example.text, drug)
        assert bool(warns.search(stated)) == (example.gold.choice == 0)


@pytest.mark.parametrize(("name", "side"), [("synthetic_impression", "source"), ("synthetic_plan", "target")])
def test_summaries_name_no_word_that_their_note_lacks(name, side):
    terms = [term for kind in words(side).values() for term in kind]
    for example in examples(name):
        assert example.gold.text[0].isupper()
        assert all(places(example.text, term) for term in terms if places(example.gold.text, term))
    assert len({example.gold.text for example in examples(name)}) > 100


def test_vocabularies_are_of_the_wanted_size_and_targets_share_no_word_with_sources():
    source, target = words("source"), words("target")
    sizes = {kind: len(source[kind]) + len(target[kind]) for kind in source}
    assert sizes == {"drugs": 60, "conditions": 64, "symptoms": 30, "parts": 22}
    assert not {word for kind in source.values() for word in kind} & {word for kind in target.values() for word in kind}


def test_targets_share_no_wording_with_sources():
    said = []
    for made in (world("source"), world("target")):
        frames = (wordings for frame in made.frames for wordings in frame.values())
        said.append([wording for wordings in (*made.phrases.values(), *frames) for wording in wordings])
        assert len(set(said[-1])) == len(said[-1])
    assert not set(said[0]) & set(said[1])


@pytest.mark.parametrize("side", ["source", "target"])
def test_no_word_of_a_kind_is_within_another_and_the_wordings_bring_none_of_their_own(side):
    made = world(side)
    for kind in words(side).values():
        assert not [pair for pair in combinations(kind, 2) if places(pair[0], pair[1]) or places(pair[1], pair[0])]
    fixed = " ".join(
        [*(w for ws in made.phrases.values() for w in ws), *(w for f in made.frames for ws in f.values() for w in ws)]
    )
    assert not [word for kind in words(side).values() for word in kind if places(fixed, word)]


@pytest.mark.parametrize("side", ["source", "target"])
def test_all_wordings_of_a_kind_ask_for_the_same_words(side):
    for kind, wordings in world(side).phrases.items():
        asked = [sorted(s for _, s, *_ in Formatter().parse(w) if s and s.rstrip("2") in ENTITY_KINDS) for w in wordings]
        assert all(slots == asked[0] for slots in asked), kind


def run_apart(program):
    environment = {"PYTHONPATH": str(Path(mpdd.__file__).parents[1])}
    command = [sys.executable, "-c", "from mpdd.data.synthetic import TASKS\n" + program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd="/")
    return done.stdout.split()


def test_no_network_is_used_and_no_file_but_the_packages_own():
    program = """
import sys
from pathlib import Path
seen = set()  # of events and paths; modules that Python itself reads do not count
sys.addaudithook(lambda event, values: seen.add((event, values[0])) if event == "open" or "socket" in event else None)
for task in TASKS.values():
    task.load(Path("/nowhere"))
print(*sorted(f"{event}:{value}" for event, value in seen if ".py" not in str(value)))
"""
    own = files("mpdd.data.synthetic")
    assert run_apart(program) == [f"open:{own / 'source.toml'}", f"open:{own / 'target.toml'}"]


def test_importing_makes_no_notes_and_loads_nothing_heavy():
    program = """
import sys
from mpdd.data.synthetic.notes import world
print(world.cache_info().currsize, *({"torch", "numpy", "pandas", "transformers"} & set(sys.modules)))
"""
    assert run_apart(program) == ["0"]
