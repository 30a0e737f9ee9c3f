"""Folders that `save_to_disk` of Hugging Face datasets writes: one dataset, or several splits, read by pyarrow alone."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from mpdd.data.cards import formats
from mpdd.data.cards.labelled import read_labelled
from mpdd.data.readers.base import NoRecordError
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from tests.data.cards.conftest import SECRET, load, refusal

NER = TaskCard("own", "ner", "Do it.", labels=("Drug", "Problem"))
TAGS = ["O", "B-Drug", "B-Problem"]
NER_FEATURES = {"ner_tags": {"feature": {"names": TAGS, "_type": "ClassLabel"}, "_type": "List"}}
LABEL_FEATURES = {"label": {"names": ["benign", "malignant"], "_type": "ClassLabel"}}


def tokens(word):
    return {"tokens": ["Rash", "after", word, SECRET], "ner_tags": [2, 0, 1, 0]}


def save(folder, rows, features, shards=1, **state):
    """Write a dataset as save_to_disk does: streams of Arrow, the names of the files, and the features."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{shards:05}.arrow" for number in range(shards)]
    for number, name in enumerate(names):
        table = pa.Table.from_pylist(rows[number::shards])
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "dataset_info.json").write_text(json.dumps({"citation": "", "features": features}, indent=2))
    files = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "f", "_split": None}
    (folder / "state.json").write_text(json.dumps({**files, **state}, indent=2))
    return folder


def mentions(examples):
    return [(e.label, x.text[e.start : e.end]) for x in examples for e in x.gold.entities]


def test_a_saved_dataset_of_tokens_in_several_files(tmp_path):
    folder = save(tmp_path / "saved", [tokens(f"drug{number}") for number in range(5)], NER_FEATURES, shards=2)
    cached = pa.Table.from_pylist([tokens("cached")])
    with pa.ipc.new_stream(str(folder / "cache-123.arrow"), cached.schema) as writer:
        writer.write_table(cached)
    assert formats.recognise([folder], "ner", "") == ["tokens"]
    examples, notes = read_labelled(NER, [folder])
    assert len(examples) == 5 and {label for label, _ in mentions(examples)} == {"Drug", "Problem"}
    assert sorted(words for label, words in mentions(examples) if label == "Drug") == [f"drug{n}" for n in range(5)]
    assert notes["records recognised as tokens with tags (Hugging Face)"] == 5


def test_classes_have_the_names_of_the_dataset(tmp_path):
    card = TaskCard("own", "classification", "Do it.", labels=("malignant", "benign"), form="single")
    folder = save(tmp_path / "saved", [{"text": "A.", "label": 0}, {"text": "B.", "label": 1}], LABEL_FEATURES)
    examples, _ = read_labelled(card, [folder])
    assert [card.labels[example.gold.choice] for example in examples] == ["benign", "malignant"]


def test_answers_as_squad_has_them(tmp_path):
    card = TaskCard("own", "qa", "Do it.", fields=("Question",), form="extractive")
    row = {"question": "What?", "context": "Rash after aspirin.", "answers": {"text": ["aspirin"], "answer_start": [11]}}
    features = {"answers": {"text": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}}}
    ((example,), _) = read_labelled(card, [save(tmp_path / "saved", [row], features)])
    assert example.gold.text == "aspirin" and example.fields == (("Question", "What?"),)


def test_an_arrow_file_by_itself_with_the_names_in_its_metadata(tmp_path):
    schema_metadata = {"huggingface": json.dumps({"info": {"features": NER_FEATURES}})}
    table = pa.Table.from_pylist([tokens("aspirin")]).replace_schema_metadata(schema_metadata)
    for name, opened in (("stream", pa.ipc.new_stream), ("file", pa.ipc.new_file)):
        with opened(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
        examples, _ = read_labelled(NER, [tmp_path / name])
        assert mentions(examples) == [("Problem", "Rash"), ("Drug", "aspirin")]


@pytest.fixture
def splits(tmp_path):
    """A folder of three splits, as DatasetDict.save_to_disk writes it."""
    for split, number in (("train", 8), ("validation", 3), ("test", 2)):
        save(tmp_path / "saved" / split, [tokens(f"{split}{place}") for place in range(number)], NER_FEATURES)
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}')
    return tmp_path / "saved"


def test_the_splits_of_a_saved_dict_are_those_of_the_card(splits, write):
    found = load(write("ner", data={"format": "", "train": "saved"}, labels=["Drug", "Problem"]), strict=True)
    assert [len(part) for part in (found.train, found.dev, found.test)] == [8, 3, 2]
    assert all("validation" in example.text for example in found.dev)


def test_a_split_that_the_card_names_comes_before_that_of_the_folder(splits, write):
    other = save(splits.parent / "other", [tokens("other")], NER_FEATURES)
    data = {"format": "", "train": "saved", "test": other.name}
    found = load(write("ner", data=data, labels=["Drug", "Problem"]), strict=True)
    assert [len(part) for part in (found.train, found.dev, found.test)] == [8, 3, 1]


def test_a_saved_dict_without_a_train_split_is_refused(splits, write):
    (splits / "train").rename(splits / "main")
    message = refusal(write("ner", data={"format": "", "train": "saved"}, labels=["Drug", "Problem"]))
    assert "have no split for train; found 3 folders of other names; wanted a folder train" in message


def test_damaged_datasets_are_refused_in_one_sentence(tmp_path):
    folder = save(tmp_path / "saved", [tokens("aspirin")] * 50, NER_FEATURES)
    (file,) = folder.glob("*.arrow")
    whole = file.read_bytes()
    for content in (whole[:-200], whole[:700], whole[:8] + b"\xff" * 300):
        file.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as Arrow") as error:
            read_labelled(NER, [folder])
        assert SECRET not in str(error.value)
    file.unlink()
    with pytest.raises(InputError, match="is not there"):
        read_labelled(NER, [folder])


def test_rows_that_an_index_chooses_are_refused(tmp_path):
    index = [{"filename": "indices.arrow"}]
    folder = save(tmp_path / "saved", [tokens("aspirin")], NER_FEATURES, _indices_data_files=index)
    with pytest.raises(InputError, match="saved with an index that chooses its rows.*flatten_indices"):
        read_labelled(NER, [folder])


def test_an_empty_dataset_is_refused(tmp_path):
    folder = save(tmp_path / "saved", [tokens("aspirin")], NER_FEATURES)
    (file,) = folder.glob("*.arrow")
    schema = pa.Table.from_pylist([tokens("aspirin")]).schema
    with pa.ipc.new_stream(str(file), schema):
        pass
    with pytest.raises((InputError, NoRecordError), match="no usable record"):
        read_labelled(NER, [folder])
