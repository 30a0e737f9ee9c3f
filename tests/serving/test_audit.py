"""Edits of the log are found, a torn line is not taken for one, and threads do not write into each other's lines."""

import json
import multiprocessing
import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpdd.errors import InputError
from mpdd.serving.audit import AuditLog, Entry, verify

ENTRY = Entry("2026-11-23T00:00:00+00:00", "ward-3", "/v1/annotate", ("drugs",), ("ab",), "cd", 17, 200, 0.1, "r")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


def write(path, count, first=0):
    log = AuditLog(path, fsync=False)
    for number in range(first, first + count):
        log.append(replace(ENTRY, request_id=str(number)))
    log.close()
    return log.head


def test_a_log_goes_on_over_restarts_and_is_its_owners_alone(path):
    write(path, 3)
    head = write(path, 2, first=3)
    assert verify(path) == 5 and path.stat().st_mode & 0o777 == 0o600
    again = AuditLog(path)
    assert again.head == head
    again.close()
    assert [json.loads(line)["request_id"] for line in path.read_text().splitlines()] == list("01234")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_but_a_cut_at_the_end_is_found(path, data):
    path.unlink(missing_ok=True)
    write(path, 6)
    lines = path.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(0, 4))
    kind = data.draw(st.sampled_from(["edit", "remove", "swap", "insert", "byte"]))
    if kind == "edit":
        lines[at] = json.dumps(json.loads(lines[at]) | {"caller": "nobody"}).encode() + b"\n"
    elif kind == "remove":
        del lines[at]
    elif kind == "swap":
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
    elif kind == "insert":
        lines.insert(at, lines[data.draw(st.integers(0, 5))])
    else:
        spot = data.draw(st.integers(0, len(lines[at]) - 2))
        changed = bytearray(lines[at])
        changed[spot] ^= data.draw(st.integers(1, 127))
        lines[at] = bytes(changed)
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match="chain of audit.jsonl is broken"):
        verify(path)


@pytest.mark.parametrize("cut", [1, 2, 50, 150])
def test_a_line_that_a_crash_tore_is_marked_and_the_log_goes_on(path, cut):
    write(path, 3)
    path.write_bytes(path.read_bytes()[:-cut])
    write(path, 2, first=9)
    assert verify(path) == (5 if cut == 1 else 6)
    assert path.read_text().count('"torn": true') == (0 if cut == 1 else 1)


def test_a_torn_line_in_the_middle_without_its_mark_is_found(path):
    write(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:30] + b"\n" + lines[2])
    with pytest.raises(InputError, match="line 2"):
        verify(path)


def test_another_file_is_not_continued(path):
    path.write_text("a note about a patient\n")
    with pytest.raises(InputError, match="is no audit log") as refused:
        AuditLog(path)
    assert "patient" not in str(refused.value)
    assert path.read_text() == "a note about a patient\n"


def other_process(path, found):
    try:
        AuditLog(path)
        found.put("opened")
    except InputError as error:
        found.put(str(error))


def test_a_second_process_is_refused(path):
    log = AuditLog(path)
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    process = context.Process(target=other_process, args=(path, found))
    process.start()
    assert "Another process writes the audit log" in found.get(timeout=20)
    process.join()
    log.close()


def test_threads_write_whole_lines(path):
    log = AuditLog(path, fsync=False)
    threads = [threading.Thread(target=lambda: [log.append(ENTRY) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert verify(path) == 400
