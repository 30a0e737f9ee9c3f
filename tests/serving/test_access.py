"""Tokens are known by their hashes, bound to their tasks, and odd ones are just wrong."""

import pytest

from mpdd.errors import InputError
from mpdd.serving.access import Tokens, new_token


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
