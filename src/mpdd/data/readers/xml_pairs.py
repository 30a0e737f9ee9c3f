"""Reads XML whose root holds a flat list of elements, each with attributes and child elements of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpdd.data.readers.base import Notes, Record, complete, read_bytes, texts, usable
from mpdd.errors import InputError


def read(path: Path, tag: str, attributes: Sequence[str], children: Sequence[str], notes: Notes) -> list[Record]:
    """Return the elements called `tag` as records of their attributes and children, whitespace collapsed.

    Elements that lack one are noted as bad. Entities are not resolved and nothing is loaded from a network.
    Raise `InputError` naming the line where the XML is broken or cut short.
    """
    from lxml import etree  # type: ignore[import-untyped]

    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        root = etree.fromstring(read_bytes(path), parser)
    except etree.XMLSyntaxError as error:
        raise InputError(
            f"The file {path} is not valid XML", found=f"an error on line {error.lineno}", wanted="a complete XML file"
        ) from None
    records = []
    for element in root.iter(tag):
        values = {name: element.get(name) for name in attributes}
        values |= {name: _text(element.find(name)) for name in children}
        record = Record(f"{path} line {element.sourceline}", values)
        if complete(record, texts((*attributes, *children)), notes):
            records.append(record)
    return usable(path, records)


def _text(element: object) -> str | None:
    return None if element is None else " ".join("".join(element.itertext()).split())  # type: ignore[attr-defined]
