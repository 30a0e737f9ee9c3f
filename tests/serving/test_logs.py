"""The server's log: one line an event, without text from requests, and not more than a few a minute."""

from __future__ import annotations

import hmac
import io
import logging
import sys

import pytest

from mpdd.errors import InputError
from mpdd.serving import logs
from mpdd.serving.access import Tokens, new_token
from mpdd.serving.logs import Sparing


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def written():
    return io.StringIO()


def log_to(handler):
    logger = logging.getLogger("test of sparing logs")
    logger.handlers, logger.propagate = [handler], False
    return logger


def test_lines_are_bounded_and_the_next_one_says_how_many_were_left_out(written):
    clock = Clock()
    logger = log_to(Sparing(written, lines=5, clock=clock))
    for number in range(100_000):
        logger.warning("event %d", number)
    clock.now = 61
    logger.warning("after")
    lines = written.getvalue().splitlines()
    assert len(lines) == 7
    assert "event 4" in lines[4] and "99,995 lines were left out" in lines[5] and "after" in lines[6]


def test_an_exception_is_one_line_without_what_it_says(written):
    logger = log_to(Sparing(written))
    try:
        raise ValueError("Mrs Quimby has fever")
    except ValueError:
        logger.exception("Exception in callback\nTraceback of Quimby")
    (line,) = written.getvalue().splitlines()
    assert "Exception in callback (ValueError at test_logs.py:" in line and "Quimby" not in line


def test_lines_are_short(written):
    log_to(Sparing(written)).warning("x" * 100_000)
    assert len(written.getvalue()) < 500


def test_the_server_and_the_event_loop_log_through_it(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    saved = {name: (logging.getLogger(name).handlers, logging.getLogger(name).propagate) for name in logs._LOGGERS}
    try:
        logs.set_up()
        for name in ("uvicorn.error", "asyncio", "mpdd.serving"):
            logging.getLogger(name).warning("hello from %s", name)
            logging.getLogger(name).info("not this")
    finally:
        for name, (handlers, propagate) in saved.items():
            logging.getLogger(name).handlers, logging.getLogger(name).propagate = handlers, propagate
    assert [line.rpartition(" ")[2] for line in stream.getvalue().splitlines()] == ["uvicorn.error", "asyncio", "mpdd.serving"]


# Tokens are known by their hashes, bound to their tasks, and odd ones are just wrong.


@pytest.fixture
def write(tmp_path):
    def of(text, mode=0o600):
        path = tmp_path / "tokens.toml"
        path.write_text(text)
        path.chmod(mode)
        return path

    return of


def entry(name, digest, tasks='["*"]'):
    return f'[[token]]\nname = "{name}"\nsha256 = "{digest}"\ntasks = {tasks}\n'


def test_a_token_finds_its_caller_and_its_tasks(write):
    (one, one_digest), (two, two_digest) = new_token(), new_token()
    tokens = Tokens.read(write(entry("ward-3", one_digest, '["drugs"]') + entry("lab", two_digest)))
    ward, lab = tokens.caller(one), tokens.caller(two)
    assert (ward.name, ward.may_use("drugs"), ward.may_use("doses")) == ("ward-3", True, False)
    assert lab.name == "lab" and lab.may_use("anything")


@pytest.mark.parametrize("odd", [None, "", " ", "wrong", "\u00fc\U0001f48a", "\ud800", "x" * 1_000_000], ids=range(7))
def test_odd_tokens_are_nobodys(write, odd):
    assert Tokens.read(write(entry("a", new_token()[1]))).caller(odd) is None


def test_the_hash_is_no_token(write):
    _, digest = new_token()
    assert Tokens.read(write(entry("a", digest))).caller(digest) is None


def test_every_problem_of_the_file_stands_in_one_sentence(write):
    with pytest.raises(InputError) as refused:
        Tokens.read(write(entry("a b", "12") + '[[token]]\nname = "c"\nsecret = 1\n'))
    assert "token.1.secret: no such key" in str(refused.value)
    assert "tokens.toml has 5 problems: token.0.name" in str(refused.value)


@pytest.mark.parametrize("names", [("a", "a"), ("a", "b")])
def test_names_and_hashes_are_distinct(write, names):
    digest = new_token()[1]
    second = new_token()[1] if names[0] == names[1] else digest
    with pytest.raises(InputError, match="stands there more than once"):
        Tokens.read(write(entry(names[0], digest) + entry(names[1], second)))


def test_a_file_that_others_may_read_is_refused(write):
    with pytest.raises(InputError, match="chmod 600"):
        Tokens.read(write(entry("a", new_token()[1]), mode=0o644))


def test_tokens_are_long_and_never_the_same():
    made = {new_token()[0] for _ in range(100)}
    assert len(made) == 100 and min(map(len, made)) >= 43


@pytest.mark.parametrize("place", ['[[token]]\nname = "a"\nsha256 = "{}"\ntasks = ["*"]\n', 'token = "{}"\n', 'token = ["{}"]\n'])
def test_a_token_in_the_wrong_place_does_not_come_back_in_the_error(write, place):
    token = new_token()[0]
    with pytest.raises(InputError, match="tokens.toml has 1 problem: .*not shown") as refused:
        Tokens.read(write(place.format(token)))
    assert token[:6] not in str(refused.value) and token[-6:] not in str(refused.value)


def test_bytes_and_the_token_with_anything_added_are_nobodys(write):
    token, digest = new_token()
    tokens = Tokens.read(write(entry("a", digest)))
    assert tokens.caller(token).name == "a"
    assert [tokens.caller(odd) for odd in (token.encode(), b"\xff", token + " ", token[:-1], token.upper(), token + "\x00")] == [
        None
    ] * 6


def test_every_hash_is_compared_whichever_fits(write, monkeypatch):
    made, compared, compare = [new_token() for _ in range(4)], [], hmac.compare_digest
    tokens = Tokens.read(write("".join(entry(str(number), digest) for number, (_, digest) in enumerate(made))))
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(a) or compare(a, b))
    for presented in (made[0][0], made[3][0], "wrong"):
        compared.clear()
        tokens.caller(presented)
        assert len(compared) == 4
