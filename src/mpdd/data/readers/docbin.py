"""Reads spaCy's DocBin (`.spacy`): the Docs as objects with `text`, `ents`, `spans` and `cats`, as `Doc.to_json` has them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpdd.data.readers.base import Record, read_bytes, usable
from mpdd.data.readers.compressed import require_modest
from mpdd.errors import InputError, MpddError, in_words

_RELATIONS = ("._.", "mpdd_relations", None, None)  # where spaCy keeps the extension attribute `doc._.mpdd_relations`
_KEYS = (b"version", b"attrs")  # with which the content of a DocBin starts
_CHUNK = 1 << 20


def is_docbin(head: bytes) -> bool:
    """Say whether a file that starts so is a DocBin."""
    try:
        start = zlib.decompressobj().decompress(head, 64)
    except zlib.error:
        return False
    return all(key in start for key in _KEYS)


def read(path: Path) -> list[Record]:
    """Return the Docs, counted from 1, with offsets in characters, and the `relations` that mpdd writes.

    Raise `InputError` for a file that is damaged or unpacks to far too much, `MpddError` where spaCy is not installed.
    """
    content = read_bytes(path)
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError as error:
        raise MpddError(f"The file {path} is one of spaCy; `pip install 'mpdd[spacy]'` brings what reads it.") from error
    try:
        _require_modest(path, content)
        docs = DocBin(store_user_data=True).from_bytes(content).get_docs(spacy.blank("xx").vocab)
        values = [_values(doc) for doc in docs]
    except InputError:
        raise
    except Exception as error:  # spaCy, msgpack and numpy name no kinds of their own for damaged content
        raise InputError(
            f"The file {path} cannot be read as spaCy's DocBin",
            found=in_words(error),
            wanted="a whole file, as DocBin.to_disk of spaCy 3 writes it",
            next_step="Write it again, or copy it again if it was cut short.",
        ) from None
    return usable(path, [Record(f"{path} document {number}", fields) for number, fields in enumerate(values, 1)])


def _require_modest(path: Path, content: bytes) -> None:
    """Raise `InputError` where the content unpacks to far more than texts do, before all of it is unpacked."""
    unpacker, part, unpacked = zlib.decompressobj(), content, 0
    while part:
        unpacked += len(unpacker.decompress(part, _CHUNK))
        require_modest(path, len(content), unpacked)
        part = unpacker.unconsumed_tail


def _values(doc: Any) -> dict[str, Any]:
    spans = {name: [_span(span) for span in group] for name, group in doc.spans.items()}
    values = {"text": doc.text, "ents": [_span(span) for span in doc.ents], "spans": spans, "cats": dict(doc.cats)}
    name, relations = doc.user_data.get("id"), doc.user_data.get(_RELATIONS) or ()
    named = {"id": name} if isinstance(name, str) else {}
    return {**named, **values, "relations": [relation for relation in relations if isinstance(relation, Mapping)]}


def _span(span: Any) -> dict[str, Any]:
    return {"start": span.start_char, "end": span.end_char, "label": span.label_}
