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

    def item(self, annotation: Values, label: str) -> Values:
        """Return an annotation as an entity or relation, labelled by a feature ("": by the layer's name)."""
        value = annotation["features"].get(label) if label else self.name
        keys = ("head", "tail") if is_relation(annotation) else ("id", "start", "end")
        return {key: annotation[key] for key in keys} | ({} if value is None else {"label": value})


def is_relation(annotation: Values) -> bool:
    """Say whether an annotation has two ends."""
    return "head" in annotation


def convert(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return records with `entities`, `relations`, and features of the whole document as fields.

    Each layer is a field of its own name too, and `LAYER.FEATURE` is the layer labelled by that feature, so that a card
    may name one of these as its column.
    """
    types = {name: features for record in records for name, features in dict(record.values.get("types") or {}).items()}
    layers = {name: Layer(name, tuple(features)) for name, features in types.items()}
    return converted(records, lambda values: _convert(layout, values, layers, notes), notes)


def _convert(layout: Layout, values: Values, layers: Mapping[str, Layer], notes: Notes) -> Values:
    structures = mappings(values["feature_structures"])
    annotations = [structure for structure in structures if "start" in structure]
    chosen = [(layers[a["type"]], a) for a in annotations if a["type"] in layers and layers[a["type"]].is_own]
    fields = _of_document(structures) | _by_layer(annotations, layers)
    fields["entities"] = [layer.item(a, layer.label) for layer, a in chosen if not is_relation(a)]
    fields["relations"] = [layer.item(a, layer.label) for layer, a in chosen if is_relation(a)]
    fields["relations"] += [link for _, annotation in chosen for link in _links(annotation)]
    if layout.card.type == "re":
        _add_ends(fields.get(layout.name("entities"), []), annotations, fields)
    _note_labels(layout, chosen, notes)
    return {name: field for name, field in fields.items() if name not in values}


def _by_layer(annotations: Sequence[Values], layers: Mapping[str, Layer]) -> dict[str, Any]:
    """Return the items of each layer under its name, and under `LAYER.FEATURE` labelled by that feature."""
    fields: dict[str, Any] = {}
    for layer in layers.values():
        labels = {layer.name: layer.label, **{f"{layer.name}.{feature}": feature for feature in layer.features}}
        of_layer = [annotation for annotation in annotations if annotation["type"] == layer.type]
        for name, label in labels.items():
            fields.setdefault(name, []).extend(layer.item(annotation, label) for annotation in of_layer)
    return fields


def _links(annotation: Values) -> Iterator[Values]:
    """Yield a relation for each slot of an annotation, labelled by the slot's role, else by the feature."""
    for name, value in annotation["features"].items():
        for link in mappings(value):
            yield {"label": link["role"] or name, "head": annotation["id"], "tail": link["target"]}


def _add_ends(entities: list[Values], annotations: Sequence[Values], fields: Mapping[str, Any]) -> None:
    """Add the ends of all relations that are no entities of the chosen layers, such as tokens."""
    ends = {item.get(end) for items in fields.values() for item in mappings(items) for end in ("head", "tail")}
    missing = ends - {item.get("id") for item in entities}
    for annotation in annotations:
        if annotation["id"] in missing and not is_relation(annotation):
            entities.append({name: annotation[name] for name in ("id", "start", "end")} | {"label": "end"})


def _of_document(structures: Sequence[Values]) -> dict[str, Any]:
    """Return the features of annotations of the whole document; a list where there are several of the same name."""
    fields: dict[str, list[Any]] = {}
    for structure in structures:
        if "start" not in structure:
            for name, value in structure["features"].items():
                fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def _note_labels(layout: Layout, chosen: Sequence[tuple[Layer, Values]], notes: Notes) -> None:
    """Note for each layer of entities, or of relations, what was read as its label, where that is no usual name."""
    for layer, annotation in chosen:
        task_type = "re" if is_relation(annotation) else "ner"
        if layer.label not in _LABELS and layout.card.type == task_type:
            what = f"by its feature {layer.label}" if layer.label else "by its name"
            notes.count(f"annotations of the layer {layer.name} {RECOGNISED} labelled {what}")


def _is_in(values: Values) -> bool:
    return isinstance(values.get("feature_structures"), list) and isinstance(values.get("types"), Mapping)


EXPORTS = (Export("inception", 47, "INCEpTION (UIMA CAS XMI)", most(_is_in), convert),)
