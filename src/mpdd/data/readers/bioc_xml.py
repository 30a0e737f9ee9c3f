"""Reads the documents of a BioC collection in XML as the same objects that BioC has in JSON.

Format: https://bioc.sourceforge.net; Comeau et al. 2013, doi:10.1093/database/bat064.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpdd.data.readers.base import Record, read_bytes, usable
from mpdd.errors import InputError

_LISTS = {
    "passage": "passages", "sentence": "sentences", "annotation": "annotations", "relation": "relations",
    "location": "locations", "node": "nodes",
}  # fmt: skip


def read(path: Path) -> list[Record]:
    """Return the documents, counted from 1, with numbers as text, as XML has them.

    Entities are not resolved and nothing is loaded from a network. Raise `InputError` naming the line where the XML is
    broken or cut short, and where there is no document.
    """
    from lxml import etree  # type: ignore[import-untyped]

    try:
        root = etree.fromstring(read_bytes(path), etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise InputError(
            f"The file {path} is not valid XML",
            found=f"an error on line {error.lineno}",
            wanted="a complete XML file",
            next_step="Copy it again if it was cut short.",
        ) from None
    documents = enumerate(root.iter("document"), 1)
    return usable(path, [Record(f"{path} document {number}", _values(element)) for number, element in documents])


def _values(element: Any) -> dict[str, Any]:
    """Return an element's attributes, its infons, the texts of its other children, and lists of the parts it has."""
    values: dict[str, Any] = {**element.attrib, "infons": {}}
    for child in element.iterchildren("*"):
        if child.tag == "infon":
            values["infons"][child.get("key", "")] = "".join(child.itertext())
        elif child.tag in _LISTS:
            values.setdefault(_LISTS[child.tag], []).append(_values(child))
        else:
            values[child.tag] = "".join(child.itertext())
    return values
