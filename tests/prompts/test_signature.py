"""Signed prompt files: only the bytes that were signed, by a key that is trusted; and what a stripped file carries."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.prompts import signature
from mpdd.prompts.store import Header, load_prompt, save_prompt, without_provenance
from mpdd.serving.folder import PromptFolder
from tests.conftest import tries

CARD = TaskCard("drugs", "ner", "List drugs.", labels=("Drug",))


@pytest.fixture
def file(tiny, tmp_path):
    header = Header("soft", tiny.name, tiny.fingerprint, 3, tiny.width, tasks=("drugs",), card=CARD, provenance={"seed": 7})
    path = tmp_path / "served" / "drugs.safetensors"
    path.parent.mkdir()
    save_prompt(path, {"rows": torch.randn(3, tiny.width)}, header)
    return path


@pytest.fixture
def keys(tmp_path):
    return signature.new_keys(tmp_path / "ward")


def test_a_signed_file_is_verified_and_another_key_is_not_trusted(file, keys, tmp_path):
    private, public = keys
    _, other = signature.new_keys(tmp_path / "other")
    with pytest.raises(InputError, match="drugs.safetensors is not signed; found no file drugs.safetensors.sig"):
        signature.verify(file, [public])
    assert signature.sign(file, private).name == "drugs.safetensors.sig"
    assert signature.verify(file, [other, public]) == public
    with pytest.raises(InputError, match="by none of the keys given, or the file was changed.*; wanted a signature by other.pub"):
        signature.verify(file, [other])
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    with pytest.raises(InputError, match="ward.key is there already"):
        signature.new_keys(tmp_path / "ward")


@settings(max_examples=tries(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_changed_byte_passes(file, keys, data):
    private, public = keys
    signature.sign(file, private)
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    file.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    try:
        with pytest.raises(InputError, match="changed since"):
            signature.verify(file, [public])
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("content", [b"", b"not base64 !", b"AAAA", b"\xff\xfe"])
def test_what_is_no_signature_or_no_key_ends_in_one_sentence(file, keys, content, tmp_path):
    private, public = keys
    signature.sign(file, private).write_bytes(content)
    with pytest.raises(InputError, match="is not a signature|by none of the keys"):
        signature.verify(file, [public])
    (tmp_path / "bad.pem").write_bytes(content)
    with pytest.raises(InputError, match="bad.pem is not a private key"):
        signature.sign(file, tmp_path / "bad.pem")
    signature.sign(file, private)
    with pytest.raises(InputError, match="bad.pem is not a public key"):
        signature.verify(file, [tmp_path / "bad.pem"])


def test_openssl_agrees(file, keys, tmp_path):
    """An independent program verifies what we sign."""
    import base64
    import hashlib

    private, public = keys
    raw = base64.b64decode(signature.sign(file, private).read_bytes())
    (tmp_path / "sig").write_bytes(raw)
    (tmp_path / "message").write_bytes(b"mpdd prompt file 1\n" + hashlib.sha256(file.read_bytes()).digest())
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        public,
        "-rawin",
        "-in",
        tmp_path / "message",
        "-sigfile",
        tmp_path / "sig",
    ]
    try:
        ran = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert ran.returncode == 0, ran.stderr


def test_a_server_that_trusts_a_key_serves_only_what_it_signed(file, keys, tiny):
    private, public = keys
    folder = PromptFolder(file.parent, tiny.vocabulary, [public])
    found = folder.look()
    assert not found.tasks and "is not signed" in found.problems["drugs.safetensors"]
    signature.sign(file, private)
    assert set(folder.look().tasks) == {"drugs"}
    Path(f"{file}.sig").unlink()
    assert not folder.look().tasks


def test_a_stripped_file_does_the_same_and_tells_nothing_of_how_it_was_made(file, tiny, tmp_path):
    stripped = without_provenance(load_prompt(file), tmp_path / "plain.safetensors")
    again = load_prompt(stripped.path, tiny)
    assert again.header.provenance == {} and again.header.card == CARD
    assert torch.equal(again.rows(), load_prompt(file).rows())
    assert b'"seed"' not in stripped.path.read_bytes()
