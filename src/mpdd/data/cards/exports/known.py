"""The exports that are known, by the name of their format, in the order in which they are looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mpdd.data.cards.exports import bigbio, doccano, hugging_face, label_studio, lighttag, prodigy
from mpdd.data.cards.exports.base import Export
from mpdd.data.readers.base import Record

EXPORTS: Mapping[str, Export] = MappingProxyType(
    {
        "label-studio": label_studio.EXPORT,
        "prodigy": prodigy.EXPORT,
        "doccano": doccano.EXPORT,
        "lighttag": lighttag.EXPORT,
        "bigbio": bigbio.EXPORT,
        "tokens": hugging_face.TOKENS,
        "squad-rows": hugging_face.SQUAD,
    }
)


def recognised(records: Sequence[Record]) -> str:
    """Return the name of the export that these records are; "" for a plain table."""
    return next((name for name, export in EXPORTS.items() if export.is_in(records)), "") if records else ""
