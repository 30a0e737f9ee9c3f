"""Tokens are known by their hashes, bound to their tasks, and odd ones are just wrong."""

import hmac

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
