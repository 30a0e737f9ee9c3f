"""Prompt files: round trips, and a clear sentence for everything that can be wrong with one."""

from __future__ import annotations

import json
import os
import struct

import pytest
import torch
from safetensors.torch import save_file

from mpdd.backbone.model import load as load_backbone
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import Header, _digest, load_prompt, rounded, save_prompt
from tests.conftest import make_model

CARD = TaskCard("drugs", "ner", "List the drugs.", labels=("Drug",), fields=("Question",))


def header(tiny, kind, **values):
    return Header(kind=kind, backbone=tiny.name, fingerprint=tiny.fingerprint, length=4, width=tiny.width, **values)


@pytest.fixture
def soft(tiny, tmp_path):
    rows = torch.randn(4, tiny.width)
    return save_prompt(tmp_path / "a.safetensors", {"rows": rows}, header(tiny, "soft", card=CARD, provenance={"seed": 0}))


def test_soft_round_trip(tiny, soft):
    found = load_prompt(soft.path, tiny)
    assert torch.equal(found.rows(), soft.tensors["rows"])
    assert found.header == soft.header
    assert found.header.card == CARD
    assert found.stored_bytes == soft.path.stat().st_size


def test_the_same_prompt_gives_the_same_bytes(tiny, soft, tmp_path):
    again = save_prompt(tmp_path / "b.safetensors", soft.tensors, soft.header)
    assert again.path.read_bytes() == soft.path.read_bytes()


def test_meta_round_trip_and_task_in_both_modes(tiny, tmp_path):
    meta = MetaPrompt(torch.randn(4, tiny.width), ["a", "b"], rank=2)
    with torch.no_grad():
        meta.u.normal_()
        meta.v.normal_()
    tensors = {"shared": meta.shared, "u": meta.u, "v": meta.v}
    saved = save_prompt(tmp_path / "meta.safetensors", tensors, header(tiny, "meta", rank=2, tasks=("a", "b")))
    found = load_prompt(saved.path).metaprompt()
    assert torch.equal(found("b"), meta("b"))
    assert torch.equal(saved.rows(), meta.zero_shot())

    target = meta.for_target("t")
    described = header(tiny, "task", rank=2, tasks=("t",), card=CARD, metaprompt=saved.header.digest)
    whole = save_prompt(tmp_path / "all.safetensors", {"shared": target.shared, "u": target.u, "v": target.v}, described)
    small = save_prompt(tmp_path / "factors.safetensors", {"u": target.u, "v": target.v}, described)
    assert torch.allclose(load_prompt(whole.path).rows(), target("t"))
    assert torch.allclose(load_prompt(small.path).rows(), target("t"))
    assert small.stored_bytes < whole.stored_bytes

    saved.path.unlink()
    with pytest.raises(InputError, match="factors only and its metaprompt is not beside it"):
        load_prompt(small.path).rows()


def test_another_backbone_is_named_on_both_sides(soft, tmp_path):
    other = load_backbone(str(make_model(tmp_path / "other", seed=1, width=16)), dtype=torch.float32)
    with pytest.raises(InputError, match=r"another backbone; found .*other.*width 16.*wanted .*width 32"):
        load_prompt(soft.path, other)


def test_fingerprint_does_not_depend_on_the_load_type(tiny, tiny_folder):
    assert load_backbone(str(tiny_folder), dtype=torch.bfloat16).fingerprint == tiny.fingerprint


def cut_short(data):
    return data[: len(data) // 2]


def flip_a_tensor_byte(data):
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def edit_the_header(data):
    assert data.count(b"drugs") >= 1
    return data.replace(b"drugs", b"drags", 1)


def no_header(data):
    size = struct.unpack("<Q", data[:8])[0]
    described = json.loads(data[8 : 8 + size])
    del described["__metadata__"]
    text = json.dumps(described).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, "damaged"),
        (flip_a_tensor_byte, "changed after it was written"),
        (edit_the_header, "changed after it was written"),
        (no_header, "no prompt file of mpdd"),
        (lambda data: b"", "damaged"),
        (lambda data: b"not a safetensors file at all", "damaged"),
    ],
)
def test_damage_is_found(soft, damage, message):
    soft.path.write_bytes(damage(soft.path.read_bytes()))
    with pytest.raises(InputError, match=message):
        load_prompt(soft.path)


def sealed(path, header, tensors):
    """A file whose digest is right and whose content is not."""
    described = {**header, "digest": _digest(header, tensors)} if isinstance(header, dict) else header
    save_file(tensors, path, metadata={"mpdd": described if isinstance(described, str) else json.dumps(described)})
    return path


GOOD = {"kind": "soft", "backbone": "b", "fingerprint": "f", "length": 2, "width": 3, "tasks": [], "format": 1}


@pytest.mark.parametrize(
    ("header", "shape", "message"),
    [
        ("[]", (2, 3), "header of the prompt file .* is damaged"),
        ("[" * 100_000, (2, 3), "header of the prompt file .* is damaged"),
        ({**GOOD, "kind": "odd"}, (2, 3), "header of the prompt file .* is damaged"),
        ({**GOOD, "format": "x"}, (2, 3), "another format; found x; wanted 1"),
        ({**GOOD, "format": 2}, (2, 3), "Update mpdd"),
        (GOOD, (7, 9), "do not fit its header"),
        ({**GOOD, "kind": "meta", "rank": 1}, (2, 3), "do not fit its header"),
    ],
)
def test_crafted_files_are_refused(tmp_path, header, shape, message):
    with pytest.raises(InputError, match=message):
        load_prompt(sealed(tmp_path / "x.safetensors", header, {"rows": torch.zeros(shape)}))


def test_a_file_with_a_header_field_less_still_reads(tmp_path):
    """A file from before a field with a default existed keeps its digest."""
    found = load_prompt(sealed(tmp_path / "x.safetensors", GOOD, {"rows": torch.zeros(2, 3)}))
    assert found.header.metaprompt == ""


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such prompt file"):
        load_prompt(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="no prompt file of mpdd"):
        load_prompt(tmp_path / "foreign.safetensors")


def test_a_failed_write_leaves_nothing_behind(tiny, soft, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    before = soft.path.read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="No space left"):
        save_prompt(soft.path, {"rows": torch.ones(4, tiny.width)}, soft.header)
    assert soft.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [soft.path.name]


def test_numbers_of_16_bits_are_written_so_and_nothing_is_lost(tiny, soft, tmp_path):
    halved = rounded(soft)
    assert (halved.tensors["rows"] - soft.tensors["rows"]).abs().max() <= soft.tensors["rows"].abs().max() * 2**-11
    written = save_prompt(tmp_path / "half.safetensors", halved.tensors, halved.header)
    assert soft.stored_bytes - written.stored_bytes >= 2 * soft.tensors["rows"].numel() - 16
    found = load_prompt(written.path, tiny)
    assert found.tensors["rows"].dtype == torch.float32 and torch.equal(found.rows(), halved.tensors["rows"])
    save_file(dict(found.tensors), tmp_path / "wide.safetensors", {"mpdd": json.dumps(written.header.to_json(), sort_keys=True)})
    assert load_prompt(tmp_path / "wide.safetensors").header.digest == found.header.digest  # the same numbers in 32 bits


def test_numbers_that_16_bits_do_not_hold_stay_as_they_are(tiny, tmp_path):
    rows = torch.full((4, tiny.width), 1e5)
    prompt = save_prompt(tmp_path / "large.safetensors", {"rows": rows}, header(tiny, "soft", card=CARD))
    assert torch.equal(rounded(prompt).tensors["rows"], rows) and torch.equal(load_prompt(prompt.path).rows(), rows)
