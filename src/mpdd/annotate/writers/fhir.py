"""FHIR R4: one Bundle (type `collection`) of preliminary Observations with their Provenance, for a person to confirm.

Format: https://hl7.org/fhir/R4/bundle.html. A note is a DocumentReference that names the note by its id and SHA-1, without its
text. Entities, relations and answers are Observations, because a Condition needs a patient, whom a note's answer does not name.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from mpdd.annotate.answers.types import AnnotatedNote, Entity, Relation, Span, TaskAnswer
from mpdd.annotate.writers.base import File, Origin, Writer, json_document

Resource = dict[str, Any]
NOTE_SYSTEM = "urn:mpdd:note"


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the one Bundle."""
    device = _device(origin)
    resources = [device]
    for number, note in enumerate(notes):
        resources += _of_note(number, note, device, origin)
    entry = [{"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource} for resource in resources]
    bundle = {"resourceType": "Bundle", "type": "collection", "timestamp": origin.when.isoformat(), "entry": entry}
    yield "", json_document(bundle)


def _device(origin: Origin) -> Resource:
    name = {"name": origin.model_version, "type": "model-name"}
    return {"resourceType": "Device", "id": _id("device", origin.model_version), "deviceName": [name]}


def _of_note(number: int, note: AnnotatedNote, device: Resource, origin: Origin) -> Iterator[Resource]:
    document = _document(number, note)
    yield document
    observations = []
    bodies = [(answer.task, body) for answer in note.answers for body in _bodies(answer)]
    for place, (task, body) in enumerate(bodies):
        observations.append(
            {
                "resourceType": "Observation",
                "id": _id(document["id"], str(place)),
                "status": "preliminary",
                "category": [{"text": _string(task)}],
                **body,
                "derivedFrom": [_reference(document)],
                "device": _reference(device),
            }
        )
    yield from observations
    if observations:
        yield _provenance(document, observations, device, origin)


def _document(number: int, note: AnnotatedNote) -> Resource:
    content = note.text.encode()
    attachment = {
        "contentType": "text/plain; charset=utf-8",
        "size": len(content),
        "hash": base64.b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode(),
    }
    return {
        "resourceType": "DocumentReference",
        "id": _id("note", str(number), note.id),
        "identifier": [{"system": NOTE_SYSTEM, "value": _string(note.id)}],
        "status": "current",
        "content": [{"attachment": attachment}],
    }


def _bodies(answer: TaskAnswer) -> Iterator[Resource]:
    yield from map(_entity, answer.entities)
    yield from map(_relation, answer.relations)
    for label in answer.categories:
        value = {"valueCodeableConcept": {"text": _string(label)}}
        yield {"code": {"text": _string(answer.task)}, **value, **_components({}, answer.confidence)}
    if answer.kind in ("extract", "summary") and answer.answer and answer.answer.strip():
        places = _places(answer.span) if answer.span else {}
        component = {"valueString": _string(answer.answer)}
        yield {"code": {"text": _string(answer.task)}, **component, **_components(places, answer.confidence)}


def _entity(entity: Entity) -> Resource:
    component = {"code": {"text": _string(entity.label)}, "valueString": _string(entity.text)}
    return {**component, **_components(_places(entity.span), entity.confidence)}


def _relation(relation: Relation) -> Resource:
    words = f"{_string(relation.head.text)} -> {_string(relation.tail.text)}"
    places = {**_places(relation.head, "head "), **_places(relation.tail, "tail ")}
    return {"code": {"text": _string(relation.label)}, "valueString": words, **_components(places, relation.confidence)}


def _places(span: Span, prefix: str = "") -> dict[str, int]:
    return {f"{prefix}start": span.start, f"{prefix}end": span.end}


def _components(places: Mapping[str, int], confidence: float | None) -> Resource:
    """Offsets in characters of the note, and how sure the model is."""
    parts: list[Resource] = [{"code": {"text": name}, "valueInteger": place} for name, place in places.items()]
    if confidence is not None:
        parts.append({"code": {"text": "confidence"}, "valueQuantity": {"value": confidence}})
    return {"component": parts} if parts else {}


def _provenance(document: Resource, observations: Sequence[Resource], device: Resource, origin: Origin) -> Resource:
    return {
        "resourceType": "Provenance",
        "id": _id(document["id"], "provenance"),
        "target": [_reference(resource) for resource in observations],
        "recorded": origin.when.isoformat(),
        "agent": [{"who": _reference(device)}],
        "entity": [{"role": "source", "what": _reference(document)}],
    }


def _reference(resource: Resource) -> dict[str, str]:
    return {"reference": f"urn:uuid:{resource['id']}"}


def _id(*parts: str) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(("mpdd", *parts))))


def _string(text: str) -> str:
    """A text as FHIR's strings may be: single spaces, no control characters, not empty."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split()) or "-"


WRITER = Writer("FHIR R4 Bundle", ".json", files, "the text of the notes; white space within entities")
