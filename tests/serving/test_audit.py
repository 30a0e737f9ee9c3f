"""Edits of the log are found, a torn line is not taken for one, and threads do not write into each other's lines."""

import hashlib
import json
import multiprocessing
import os
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
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


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    assert verify(path) == 5
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


def sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


@pytest.mark.parametrize("fsync", [True, False])
def test_a_line_is_on_the_disk_before_append_returns(path, monkeypatch, fsync):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(path.read_bytes().count(b"\n")))
    log = AuditLog(path, fsync=fsync)
    log.append(ENTRY)
    assert synced == ([1] if fsync else [])


def test_a_folder_and_a_missing_folder_are_said_to_be_so(tmp_path):
    for unfit in (tmp_path, tmp_path / "none" / "audit.jsonl"):
        with pytest.raises(InputError, match="cannot be written; found (Is a directory|No such file)"):
            AuditLog(unfit)


def test_refused_logs_leave_no_open_file(path):
    path.write_bytes(b"no log\n")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(InputError):
            AuditLog(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_line_is_written_at_once(path, monkeypatch):
    parts, real = [], os.write
    monkeypatch.setattr(os, "write", lambda file, data: parts.append(data) or real(file, data))
    AuditLog(path, fsync=False).append(ENTRY)
    assert parts == [path.read_bytes()]


def test_names_with_line_ends_and_any_script_stay_on_their_line(path):
    log = AuditLog(path, fsync=False)
    log.append(replace(ENTRY, caller="a\nb\r\u2028é\x00\x85", tasks=("肺炎", '"}\n{')))
    log.append(ENTRY)
    assert verify(path) == 2
    assert json.loads(path.read_bytes().split(b"\n")[0])["tasks"] == ["肺炎", '"}\n{']


def test_opening_looks_at_the_last_line_only(path):
    write(path, 3)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    write(path, 1)
    with pytest.raises(InputError, match="line 1;"):
        verify(path)


CHANGES = ("byte", "remove", "swap", "insert", "repeat", "drop a byte", "add a byte")


@st.composite
def changed(draw):
    """Lines of a log (some with a torn line among them) and the same with one change that is not at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        write(path, draw(st.integers(1, 4)))
        if draw(st.booleans()):
            path.write_bytes(path.read_bytes() + b'{"time": "2026-1'[: draw(st.integers(1, 16))])
        write(path, draw(st.integers(1, 3)))
        lines = path.read_bytes().splitlines(keepends=True)
    now, kind = list(lines), draw(st.sampled_from(CHANGES))
    place = draw(st.integers(0, len(lines) - 2))
    line, at = lines[place], draw(st.integers(0, len(lines[place]) - 1))
    if kind == "byte":
        now[place] = line[:at] + bytes([draw(st.integers(0, 255))]) + line[at + 1 :]
    elif kind == "drop a byte":
        now[place] = line[:at] + line[at + 1 :]
    elif kind == "add a byte":
        now[place] = line[:at] + bytes([draw(st.integers(0, 255))]) + line[at:]
    elif kind == "remove":
        del now[place]
    elif kind == "swap":
        other = draw(st.integers(place + 1, len(lines) - 1))
        now[place], now[other] = now[other], now[place]
    elif kind == "repeat":
        now.insert(draw(st.integers(0, len(lines) - 1)), line)
    else:
        values = json.loads(lines[-1]) | {"previous": draw(st.sampled_from(["0" * 64, *(sha256(x[:-1]) for x in lines)]))}
        forged = draw(st.sampled_from([b"\n", b"{}\n", b"x\n", json.dumps(values).encode() + b"\n"]))
        now.insert(place, forged)
    assume(now != lines)
    return b"".join(lines), b"".join(now)


@settings(deadline=None)
@given(changed())
def test_any_change_is_found_in_a_log_with_torn_lines_too_and_not_quoted(both):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        path.write_bytes(both[0])
        count = verify(path)
        assert count == both[0].count(b"\n")
        path.write_bytes(both[1])
        with pytest.raises(InputError, match=r"^The chain of audit.jsonl is broken; found line [1-9]\d*;") as caught:
            verify(path)
        assert "ward-3" not in str(caught.value)


def test_a_kept_head_shows_that_the_end_was_cut_off_or_changed(path):
    kept = write(path, 2)
    head = write(path, 2)
    assert verify(path, kept) == verify(path, head) == verify(path, "0" * 64) == 4
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    assert verify(path, kept) == 3
    for content in (b"".join(lines[:3]), b"".join([*lines[:3], lines[3].replace(b"200", b"500")]), b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match="does not contain the line of this head"):
            verify(path, head)


def test_a_failed_fsync_breaks_no_chain(path, monkeypatch):
    log = AuditLog(path)
    log.append(ENTRY)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda file: os.stat(path / "none"))
        with pytest.raises(InputError, match="cannot be written"):
            log.append(ENTRY)
    log.append(ENTRY)
    assert verify(path) == 3


@pytest.mark.parametrize("part", [0, 1, 20, 200])
def test_a_full_disk_leaves_no_half_line(path, monkeypatch, part):
    log, real = AuditLog(path, fsync=False), os.write
    log.append(ENTRY)
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: real(file, data[:part]))
        with pytest.raises(InputError, match="cannot be written; found No space left"):
            log.append(ENTRY)
    log.append(ENTRY)
    assert verify(path) == 2


def test_a_file_that_another_program_changed_gets_no_more_lines(path):
    log = AuditLog(path, fsync=False)
    log.append(ENTRY)
    with path.open("ab") as other:
        other.write(b"more\n")
    with pytest.raises(InputError, match="another length than was written"):
        log.append(ENTRY)


def test_nothing_is_appended_after_close(path, tmp_path):
    log = AuditLog(path, fsync=False)
    log.close()
    log.close()
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)  # takes the number of the file that was let go
    try:
        with pytest.raises(InputError, match="cannot be written"):
            log.append(ENTRY)
        assert not os.fstat(other).st_size
    finally:
        os.close(other)


def test_a_foreign_file_without_a_line_end_is_no_torn_log(path):
    path.write_bytes(b"Dear colleague, I saw Mrs")
    with pytest.raises(InputError, match="no audit log"):
        AuditLog(path)
    assert path.read_bytes() == b"Dear colleague, I saw Mrs"


def test_an_unfinished_line_is_cut_off_and_the_mark_stands_in_its_place(path):
    write(path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"time": "20')
    log = AuditLog(path, fsync=False)
    mark = json.dumps({"torn": True, "previous": sha256(whole.splitlines()[-1])}).encode()
    assert path.read_bytes() == whole + mark + b"\n"
    assert (verify(path), log.head) == (3, sha256(mark))


def test_an_empty_line_is_no_audit_log(path):
    path.write_bytes(b"\n")
    with pytest.raises(InputError, match="no audit log"):
        AuditLog(path)


def test_half_a_surrogate_pair_in_a_name_raises_nothing(path):
    AuditLog(path, fsync=False).append(replace(ENTRY, caller="\ud800"))
    assert verify(path) == 1


def test_a_missing_log_is_said_to_be_missing(path):
    with pytest.raises(InputError, match="cannot be read; found No such file"):
        verify(path)


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
def test_a_log_that_is_not_in_its_place_gets_no_line(path, how):
    log = AuditLog(path, fsync=False)
    log.append(ENTRY)
    away = path.with_suffix(".1")
    path.rename(away)
    if how == "removed":
        away.unlink()
    elif how == "replaced":
        path.write_bytes(away.read_bytes())
    with pytest.raises(InputError, match="was moved or removed"):
        log.append(ENTRY)
    with pytest.raises(InputError, match="was moved or removed"):
        log.count("2026-11-23T00:00:00+00:00", "", 401)
    if how == "moved":
        away.rename(path)
        log.append(ENTRY)
        assert verify(path) == 2


def test_refused_requests_have_one_line_a_minute(path):
    now = [0.0]
    log = AuditLog(path, fsync=False, clock=lambda: now[0])
    for second in range(600):
        now[0] = second
        for _ in range(50):
            log.count("2026-11-23T00:00:00+00:00", "", 401)
        log.count("2026-11-23T00:00:00+00:00", "ward", 429)
    log.append(ENTRY)
    log.close("2026-11-23T00:10:00+00:00")
    assert verify(path) == 12 and path.stat().st_size < 12 * 300
    counts = [line["refused"] for line in map(json.loads, path.read_text().splitlines()) if "refused" in line]
    assert sum(count for part in counts for caller, outcome, count in part if (caller, outcome) == ("", 401)) == 30_000
    assert sum(count for part in counts for caller, outcome, count in part if (caller, outcome) == ("ward", 429)) == 600
    write(path, 1)
    assert verify(path) == 13


def test_a_log_that_begins_with_refused_requests_is_continued(path):
    log = AuditLog(path, fsync=False)
    log.count("2026-11-23T00:00:00+00:00", "", 401)
    log.close()
    write(path, 1)
    assert verify(path) == 2
