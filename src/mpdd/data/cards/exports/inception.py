"""INCEpTION and other tools of UIMA: annotations in layers (types) with features of their own, and relations.

DKPro's layers for tokens, sentences, syntax and the like are no entities or relations unless a card names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpdd.data.cards.exports.base import Export, Values, converted, mappings, most
from mpdd.data.cards.items import LABEL_NAMES
from mpdd.data.cards.layout import Layout
from mpdd.data.readers.base import RECOGNISED, Notes, Record

_LABELS = ("value", *LABEL_NAMES, "relation", "DependencyType")  # features that are labels
_HELPERS = ("uima.", "de.tudarmstadt.ukp.", "org.dkpro.core.")  # layers for the tool itself, and of linguistic analysis
_ENTITIES = "de.tudarmstadt.ukp.dkpro.core.api.ner.type."  # but for these


@dataclass(frozen=True)
class Layer:
    """A layer that the type system names; `features` are those that hold text."""

    type: str
    features: tuple[str, ...]

    @property
    def name(self) -> str:
        """What INCEpTION shows: the type without its package."""
        return self.type.rpartition(".")[2]

    @property
    def label(self) -> str:
        """The feature that is the label: one called so, else the only one; "" where the layer's name is the label."""
        known = next((name for name in _LABELS if name in self.features), "")
        return known or (self.features[0] if len(self.features) == 1 else "")

    @property
    def is_own(self) -> bool:
        """Whether it holds entities or relations that people annotate."""
        return self.type.startswith(_ENTITIES) or not self.type.startswith(_HELPERS)

    def item(self, structure: Values, label: str) -> Values:
        """Return an annotation of the layer as an entity or relation, labelled by a feature ("": by the layer's name)."""
        given = structure["features"].get(label) if label else self.name
        places = {name: structure[name] for name in ("id", "start", "end", "head", "tail") if name in structure}
        if "head" in places:
            places = {name: places[name] for name in ("head", "tail")}
        return places | ({} if given is None else {"label": given})


def convert(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return records with `entities`, `relations`, and features of the whole document as fields.

    Each layer is a field of its own name too, and `LAYER.FEATURE` is the layer labelled by that feature, so that a card
    may name one of these as its column.
    """
    features = {name: own for record in records for name, own in dict(record.values.get("types") or {}).items()}
    layers = {name: Layer(name, tuple(own)) for name, own in features.items()}
    return converted(records, lambda values: _convert(layout, values, layers, notes), notes)


def _convert(layout: Layout, values: Values, layers: Mapping[str, Layer], notes: Notes) -> Values:
    structures = mappings(values["feature_structures"])
    placed = [one for one in structures if "start" in one]
    fields: dict[str, Any] = {}
    for layer in layers.values():
        for name, label in ((layer.name, layer.label), *((f"{layer.name}.{own}", own) for own in layer.features)):
            fields.setdefault(name, [])
            fields[name] += [layer.item(one, label) for one in placed if one["type"] == layer.type]
    own = [(layers[one["type"]], one) for one in placed if one["type"] in layers and layers[one["type"]].is_own]
    fields["entities"] = [layer.item(one, layer.label) for layer, one in own if "head" not in one]
    fields["relations"] = [layer.item(one, layer.label) for layer, one in own if "head" in one]
    fields["relations"] += [link for _, one in own for link in _links(one)]
    if layout.card.type == "re":
        _add_ends(fields[layout.name("entities")], placed, fields)
    _note_labels(layout, own, notes)
    return {**_of_document(structures), **fields}


def _links(structure: Values) -> Iterator[Values]:
    """Yield a relation for each slot of an annotation, labelled by the slot's role, or by the feature if it has none."""
    for name, value in structure["features"].items():
        for link in mappings(value):
            yield {"label": link["role"] or name, "head": structure["id"], "tail": link["target"]}


def _add_ends(entities: list[Values], placed: Sequence[Values], fields: Mapping[str, Any]) -> None:
    """Add the ends of all relations that are no entities of the chosen layers, such as tokens."""
    ends = {item.get(end) for items in fields.values() for item in mappings(items) for end in ("head", "tail")}
    known = {item["id"] for item in entities}
    missing = [one for one in placed if one["id"] in ends - known and "head" not in one]
    entities += [{name: one[name] for name in ("id", "start", "end")} | {"label": "end"} for one in missing]


def _of_document(structures: Sequence[Values]) -> dict[str, Any]:
    """Return the features of annotations of the whole document; a list where there are several of the same name."""
    found: dict[str, list[Any]] = {}
    for one in structures:
        if "start" not in one:
            for name, value in one["features"].items():
                found.setdefault(name, []).append(value)
    return {name: given[0] if len(given) == 1 else given for name, given in found.items()}


def _note_labels(layout: Layout, own: Sequence[tuple[Layer, Values]], notes: Notes) -> None:
    """Note for each layer of entities, or of relations, what was read as its label, where that is no usual name."""
    for layer, one in own:
        if layer.label not in _LABELS and layout.card.type == ("re" if "head" in one else "ner"):
            what = f"by its feature {layer.label}" if layer.label else "by its name"
            notes.count(f"annotations of the layer {layer.name} {RECOGNISED} labelled {what}")


def _is_in(values: Values) -> bool:
    return isinstance(values.get("feature_structures"), list) and isinstance(values.get("types"), Mapping)


EXPORTS = (Export("inception", 47, "INCEpTION (UIMA CAS XMI)", most(_is_in), convert),)
