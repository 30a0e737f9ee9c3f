"""Readers of questions, transcripts and tables without a header, and the tasks made of them, on tiny hand-written files."""

import csv
import json
import zipfile

import pytest

from mpdd.data.passages import MAX_CHARS
from mpdd.data.readers import csv_table, json_files, squad
from mpdd.data.readers.base import Notes
from mpdd.data.task import SPLITS
from mpdd.data.tasks import covidqa, evidence_inference, indiana_radiology, mmlu_medical, nli4ct, primock57
from mpdd.data.windows import windows
from tests.data.refusals import SECRET, refusal


@pytest.fixture
def write(tmp_path):
    def write(content, name="file.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def table(*rows):
    lines = []
    csv.writer(Lines(lines)).writerows(rows)
    return "".join(lines)


class Lines(list):
    """A list that csv can write to."""

    def __init__(self, lines):
        self.write = lines.append


READERS = [squad.read, primock57.read_text_grid]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("content", "problem"), [(b"", "is empty"), (b" \n\n", "is empty"), (None, "is not there")])
def test_an_empty_or_missing_file_is_one_sentence(read, content, problem, write, tmp_path):
    path = tmp_path / "missing" if content is None else write(content)
    message = refusal(read, path, Notes())
    assert str(path) in message
    assert problem in message


@pytest.mark.parametrize("read", READERS)
def test_a_file_of_another_format_or_encoding_is_refused(read, write):
    assert "file.txt" in refusal(read, write(f"{SECRET} and nothing else\nbut {SECRET}"), Notes())
    assert "line 2" in refusal(read, write(b"a\n" + SECRET.encode() + b" caf\xe9\n"), Notes())


# Tables without a header


def test_csv_columns_may_be_named_by_the_caller(write):
    path = write('"What, then?",one,two,A\nWhich?,three,four,B\n')
    rows = csv_table.read(path, ("q", "a"), Notes(), header=("q", "A", "B", "a"))
    assert [(row["q"], row["B"], row["a"], row.where) for row in rows] == [
        ("What, then?", "two", "A", f"{path} line 1"),
        ("Which?", "four", "B", f"{path} line 2"),
    ]


def test_a_row_that_does_not_fit_the_callers_columns_is_counted(write):
    path = write(f"a,b\n{SECRET}\n")
    notes = Notes()
    assert len(csv_table.read(path, ("x",), notes, header=("x", "y"))) == 1
    assert notes.counts == {"skipped: wrong number of cells (truncated?)": 1}
    assert f"{path} line 2" in refusal(csv_table.read, path, ("x",), Notes(strict=True), header=("x", "y"))


def test_json_from_an_archive_is_called_by_its_path_there(tmp_path):
    path = tmp_path / "a.zip" / "inside.json"
    assert json_files.parse(path, b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    message = refusal(json_files.parse, path, b'{"a":\n{"b": "' + SECRET.encode())
    assert f"{path} is not valid JSON" in message
    assert "line 2" in message
    assert "UTF-8" in refusal(json_files.parse, path, b"\xff")


# SQuAD

CONTEXT = "The flu spreads. In the flu season, masks help. Masks \nhelp."


def asked(text="flu", start=20, question="What?", **more):
    return {"question": question, "answers": [{"text": text, "answer_start": start}], **more}


def articles(*questions, **more):
    return json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": list(questions), **more}]}]})


def test_squad_answers_lie_where_their_offsets_say(write):
    notes = Notes()
    second = asked(" masks help", 35, question=" Who\nor  what? ")
    first, second = squad.read(write(articles(asked(start=4), second, document_id=7)), notes)
    assert (first.document, first.number, first.text, first.context) == ("7", 1, "What?", CONTEXT)
    assert CONTEXT[first.start : first.end] == "flu"
    assert first.start == 4
    assert (CONTEXT[second.start : second.end], second.number, second.text) == ("masks help", 2, "Who\nor what?")
    assert notes.counts == {}


@pytest.mark.parametrize(("start", "found"), [(3, 4), (15, 24), (23, 24), (5000, 24), (-57, 4)])
def test_squad_answers_at_a_wrong_offset_are_found_at_the_nearest_place(start, found, write):
    notes = Notes()
    (question,) = squad.read(write(articles(asked(start=start))), notes)
    assert question.start == found
    assert notes.counts == {"answers that stand elsewhere than at their offset": 1}


def test_squad_paragraphs_without_an_id_are_called_by_their_place(write):
    content = json.loads(articles(asked())) | {"version": 1}
    content["data"].append({"paragraphs": [{"context": "x", "qas": []}, {"context": CONTEXT, "qas": [asked()]}]})
    assert [q.document for q in squad.read(write(json.dumps(content)), Notes())] == ["1/1", "2/2"]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (asked(SECRET), "answer that its paragraph does not hold"),
        (asked(" "), "answer that its paragraph does not hold"),
        (asked(start="4"), "malformed record (TypeError)"),
        (asked(question=""), "field 'question' is empty"),
        ({"question": SECRET}, "field 'answers' is missing"),
        ({"question": SECRET, "answers": [{"text": SECRET}]}, "malformed record (no 'answer_start')"),
        (SECRET, "a JSON str"),
    ],
)
def test_squad_counts_bad_questions_or_raises_at_them(bad, problem, write):
    path = write(articles(asked(), bad))
    notes = Notes()
    assert len(squad.read(path, notes)) == 1
    assert notes.counts == {f"skipped: {problem}": 1, "answers that stand elsewhere than at their offset": 1}
    message = refusal(squad.read, path, Notes(strict=True))
    assert f"{path} record 1/1/2: {problem}" in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"version": 1}', "field 'data' is missing"),
        ('{"data": {}}', "field 'data' is a dict"),
        ('{"data": []}', "no usable record"),
        ('{"data": [{"paragraphs": []}]}', "no usable record"),
        (articles(asked(SECRET)), "no usable record"),
        ('{"data": [{"paragraphs": [{"context": "' + SECRET, "not valid JSON"),
    ],
)
def test_squad_files_without_a_question_are_refused(content, problem, write):
    assert problem in refusal(squad.read, write(content), Notes())


# TextGrid

TITLE = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 9\ntiers? <exists>\nsize = 1\nitem []:\n'


def interval(number, start, end, text):
    return f"\t\tintervals [{number}]:\n\t\t\txmin = {start}\n\t\t\txmax = {end} \n\t\t\ttext = {text} \n"


def grid(*intervals, size=None, name="Speaker"):
    listed = "".join(interval(number, *values) for number, values in enumerate(intervals, 1))
    tier = f'    item [1]:\n\t\tclass = "IntervalTier"\n\t\tname = "{name}"\n\t\txmin = 0\n\t\txmax = 9\n'
    return f"{TITLE}{tier}\t\tintervals: size = {len(intervals) if size is None else size}\n{listed}"


SPOKEN = [("0", "0.5", '""'), ("0.5", "2e0", '"Say ""ah""."'), ("2", "3.25", '" "'), ("3.25", "9", '"One\n two"')]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_textgrid_reads_quotes_and_line_breaks_and_leaves_out_silence(end, write):
    notes = Notes()
    found = primock57.read_text_grid(write(grid(*SPOKEN).replace("\n", end)), notes)
    assert [(i.start, i.end, i.text.split()) for i in found] == [(0.5, 2, ["Say", '"ah".']), (3.25, 9, ["One", "two"])]
    assert notes.counts == {}


def test_textgrid_reads_all_tiers(write):
    second = grid(("1", "2", '"b"')).removeprefix(TITLE).replace("item [1]", "item [2]")
    assert [i.text for i in primock57.read_text_grid(write(grid(("0", "1", '"a"')) + second), Notes())] == ["a", "b"]


@pytest.mark.parametrize(
    "bad",
    [
        ("4", "4", f'"{SECRET}"'),
        ("5", "4", f'"{SECRET}"'),
        ("x", "5", f'"{SECRET}"'),
        ("4", "5", SECRET),
        ("4", "5", f'"{SECRET}'),
    ],
)
def test_textgrid_counts_broken_intervals_or_raises_at_their_line(bad, write):
    path = write(grid(SPOKEN[1], bad))
    notes = Notes()
    assert len(primock57.read_text_grid(path, notes)) == 1
    assert notes.counts == {"skipped: interval without its times or text": 1}
    assert f"{path} line 19: " in refusal(primock57.read_text_grid, path, Notes(strict=True))


def test_textgrid_that_is_cut_short_is_counted(write):
    path = write(grid(SPOKEN[1], size=4))
    notes = Notes()
    assert len(primock57.read_text_grid(path, notes)) == 1
    assert notes.counts == {"skipped: fewer intervals than it states (cut short?)": 1}
    assert "wanted 3 more" in refusal(primock57.read_text_grid, path, Notes(strict=True))


def test_textgrid_without_speech_or_of_the_short_form_is_refused(write):
    assert "no usable record" in refusal(primock57.read_text_grid, write(grid(SPOKEN[0])), Notes())
    short = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n9\n<exists>\n1\n"IntervalTier"\n"{SECRET}"\n0\n9\n'
    assert "no usable record" in refusal(primock57.read_text_grid, write(short), Notes())
    assert "is not a TextGrid" in refusal(primock57.read_text_grid, write(TITLE.replace("TextGrid", "PitchTier")), Notes())


# Tasks on files of their own


def everything(task, root):
    loaded = task.load(root)
    return [example for split in SPLITS for example in loaded[split]], dict(loaded.notes)


def test_covidqa_gives_the_window_that_holds_the_answer(write, tmp_path):
    sentence = "Masks of cloth help a little against the flu, as several studies in many places have shown so far. "
    context = sentence * 30 + "Washing hands helps too. " + sentence * 30
    edge = windows(context, MAX_CHARS)[0][1]
    questions = [
        asked("Washing hands", context.index("Washing"), question="What helps?"),
        asked("hands", 0, question="what helps"),
        asked(context[edge - 9 : edge + 9], edge - 9, question="What lies over the edge?"),
    ]
    content = {"data": [{"paragraphs": [{"context": context, "qas": questions, "document_id": 5}]}]}
    write(json.dumps(content), covidqa.FILES[0])
    (example,), notes = everything(covidqa, tmp_path)
    assert example.gold.text == "Washing hands"
    assert len(example.text) <= MAX_CHARS
    assert context[example.offset : example.offset + len(example.text)] == example.text
    assert (example.id, example.document) == ("covidqa:5/1", "covidqa:5")
    assert notes == {
        "answers across a window's edge": 1,
        "answers that stand elsewhere than at their offset": 1,
        "questions asked again": 1,
    }


def test_mmlu_keeps_a_question_out_of_an_earlier_split(write, tmp_path):
    for part in mmlu_medical.PARTS:
        for number, subject in enumerate(mmlu_medical.SUBJECTS):
            question = "What is IT?" if number == 0 else f"What is {part} {subject}?"
            question = question.lower() if part == "test" else question
            write(table((question, "a", "b", "c", "d", "B")), mmlu_medical.file(part, subject))
    loaded = mmlu_medical.load(tmp_path)
    assert [len(loaded[split]) for split in SPLITS] == [8, 8, 9]
    example = loaded.test[0]
    assert (example.id, example.choices, example.gold.choice) == ("mmlu:test/anatomy/1", ("a", "b", "c", "d"), 1)


def test_evidence_inference_joins_prompts_and_keeps_what_was_accepted(write, tmp_path):
    prompts = [("7", "100", "pain", "drug", "placebo"), ("8", "200", "fever", "rest", "work"), ("9", "100", "rash", "a", "b")]
    annotations = [
        ("7", "True", "True", "-1", "Pain was\nless."),
        ("7", "True", "True", "-1", "pain was less"),
        ("7", "False", "True", "1", "No."),
        ("7", "True", "False", "-1", "Elsewhere."),
        ("8", "True", "True", "0", "No change."),
        ("9", "True", "True", "0", "One."),
        ("9", "True", "True", "1", "Other."),
        ("11", "True", "True", "1", "A prompt that is not there."),
    ]
    files = (*evidence_inference.FILES, *evidence_inference.PARTS)
    rows = [("PromptID", "PMCID", "Outcome", "Intervention", "Comparator"), *prompts]
    contents = [table(*rows), table(evidence_inference.COLUMNS, *annotations), "100\r\n", "300\n", "200\n"]
    for name, content in zip(files, contents, strict=True):
        write(content, name)
    loaded = evidence_inference.load(tmp_path)
    (train,), dev, (test,) = (loaded[split] for split in SPLITS)
    assert (train.document, train.text, train.gold.choice) == ("pmc:100", "Pain was\nless.", 0)
    assert train.fields == (("Intervention", "drug"), ("Comparator", "placebo"), ("Outcome", "pain"))
    assert (dev, test.document, test.gold.choice) == ((), "pmc:200", 1)
    assert loaded.notes == {
        "annotations of prompts with two answers": 2,
        "annotations whose answer was rejected": 1,
        "annotations whose passage was rejected": 1,
        "repeated annotations": 1,
        "skipped: malformed record (KeyError)": 1,
    }


def statement(primary, secondary=None, text="It is so.", label="Entailment", **more):
    given = {"Section_id": "Results", "Primary_id": primary, "Statement": text, "Label": label, **more}
    return given | ({"Secondary_id": secondary} if secondary else {})


@pytest.fixture
def trials(tmp_path):
    """Write an archive of four trials and the statements of each split."""

    def trials(**parts):
        path = tmp_path / nli4ct.FILES[0]
        path.parent.mkdir()
        with zipfile.ZipFile(path, "w") as archive:
            for part, name in nli4ct.PARTS.items():
                statements = {f"{part}-{n}": s for n, s in enumerate(parts[part])}
                archive.writestr(f"Complete_dataset/{name}", json.dumps(statements))
                archive.writestr(f"__MACOSX/Complete_dataset/._{name}", b"\x00\x05")
            for trial in "ABCD":
                sections = {"Results": [f"Result of {trial}: ", "  12 %"], "Eligibility": [trial]}
                archive.writestr(f"Complete_dataset/CT json/{trial}.json", json.dumps(sections))
        return tmp_path

    return trials


def test_nli4ct_gives_the_named_sections_and_keeps_trials_apart(trials):
    root = trials(
        train=[statement("C", label="Contradiction"), statement("C", "A"), statement("A"), statement("D"), statement("B")],
        dev=[statement("B", Section_id="Eligibility")],
        test=[statement("D", "A"), statement("A")],
    )
    loaded = nli4ct.load(root)
    assert [[e.id for e in loaded[split]] for split in SPLITS] == [
        ["nli4ct:train-0"],
        ["nli4ct:dev-0"],
        ["nli4ct:test-0", "nli4ct:test-1"],
    ]
    assert loaded.test[0].text == "Primary trial, Results:\nResult of D:\n12 %\nSecondary trial, Results:\nResult of A:\n12 %"
    assert (loaded.train[0].gold.choice, loaded.train[0].document) == (1, "nct:C")
    assert loaded.dev[0].text == "Primary trial, Eligibility:\nB"
    assert loaded.notes == {"train: statements on a trial that a later split holds": 4}


def test_nli4ct_drops_what_has_two_answers_and_counts_what_is_broken(trials):
    twice = [statement("A", text="Both."), statement("A", text="Both.", label="Contradiction")]
    broken = [statement("A", label="Perhaps"), statement("Z"), statement("A", Section_id="Other"), {"Label": SECRET}]
    loaded = nli4ct.load(trials(train=[statement("A"), *twice, *broken], dev=[statement("B")], test=[statement("C")]))
    assert [len(loaded[split]) for split in SPLITS] == [1, 1, 1]
    assert loaded.notes["statements with both answers"] == 2
    assert sum(loaded.notes.values()) == 2 + 4


def test_indiana_reports_are_used_once_and_without_gaps_in_the_impression(write, tmp_path):
    rows = [
        ("uid", "findings", "impression"),
        ("1", "Heart XXXX normal.  Lungs clear.", "Normal."),
        ("2", "heart normal; lungs clear", "No disease."),
        ("3", "Big heart.", "Normal chest x-XXXX."),
        ("4", "", "Normal."),
        ("5", "Effusion.", " "),
    ]
    more = [("1", "Heart ____ normal.", "Normal."), ("6", "Pacemaker ____.", "Pacemaker."), ("7", "Clips.", "____ clips.")]
    write(table(*rows), indiana_radiology.FILES[0])
    keys = ("study_id", "findings", "impression")
    write(json.dumps([dict(zip(keys, item, strict=True)) for item in more]), indiana_radiology.FILES[1])
    found, notes = everything(indiana_radiology, tmp_path)
    assert {e.id: (e.text, e.gold.text) for e in found} == {
        "indiana:1": ("Heart XXXX normal. Lungs clear.", "Normal."),
        "indiana:6": ("Pacemaker XXXX.", "Pacemaker."),
    }
    assert notes == {
        "reports of both collections": 1,
        "reports with a gap in the impression": 2,
        "reports with the findings of an earlier one": 1,
        "reports without findings or impression": 2,
    }


def test_primock57_merges_both_speakers_by_time(write, tmp_path, monkeypatch):
    monkeypatch.setattr(primock57, "NAMES", ("day1_consultation01",))
    doctor = [("0", "1", '"Hello <UNSURE>there</UNSURE> ."'), ("4", "5", '"Since <UNIN/>, when?"'), ("6", "7", '"<UNIN/> ."')]
    patient = [
        ("1.5", "2", '"I cough"'),
        ("2", "3", '"a lot."'),
        ("3.5", "4.5", '"<INAUDIBLE_SPEECH/>"'),
        ("7", "8", '"Monday."'),
    ]
    write(grid(*doctor, name="Doctor"), primock57.transcript_file("day1_consultation01", "Doctor"))
    write(grid(*patient), primock57.transcript_file("day1_consultation01", "Patient"))
    write(json.dumps({"note": "Cough.\n\nPlan: rest. "}), primock57.note_file("day1_consultation01"))
    (example,), notes = everything(primock57, tmp_path)
    assert example.text == "Doctor: Hello there.\nPatient: I cough a lot.\nDoctor: Since, when?\nPatient: Monday."
    assert example.gold.text == "Cough.\nPlan: rest."
    assert notes == {"stretches of speech without a clear word": 2}
