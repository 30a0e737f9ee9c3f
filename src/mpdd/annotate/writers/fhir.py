"""FHIR R4: one Bundle (type `collection`) of preliminary Observations with their Provenance, for a person to confirm.

Format: https://hl7.org/fhir/R4/bundle.html. A note is a DocumentReference that names the note by its id and SHA-1, without its
text. Entities, relations and answers are Observations. Entities with a label that the caller names are unconfirmed Conditions
too, with their Observation as evidence; a note's answer does not name the patient, so the subject of a Condition is absent.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from mpdd.annotate.answers.types import AnnotatedNote, Entity, Relation, Span, TaskAnswer
from mpdd.annotate.writers.base import File, Origin, Writer, json_document

Resource = dict[str, Any]
NOTE_SYSTEM = "urn:mpdd:note"
UNCONFIRMED = {"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": "unconfirmed"}
ABSENT = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}


def files(notes: Sequence[AnnotatedNote], origin: Origin, conditions: Collection[str] = ()) -> Iterator[File]:
    """Yield the one Bundle; entities with a label out of `conditions` are Conditions, too."""
    device = _device(origin)
    resources = [device]
    for number, note in enumerate(notes):
        resources += _of_note(number, note, device, origin, conditions)
    entry = [{"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource} for resource in resources]
    bundle = {"resourceType": "Bundle", "type": "collection", "timestamp": origin.when.isoformat(), "entry": entry}
    yield "", json_document(bundle)


def _device(origin: Origin) -> Resource:
    name = {"name": origin.model_version, "type": "model-name"}
    return {"resourceType": "Device", "id": _id("device", origin.model_version), "deviceName": [name]}


def with_conditions(labels: Collection[str]) -> Writer:
    """The writer that makes Conditions, too, of entities with these labels."""
    return replace(WRITER, files=partial(files, conditions=frozenset(labels)))


def _of_note(
    number: int, note: AnnotatedNote, device: Resource, origin: Origin, conditions: Collection[str]
) -> Iterator[Resource]:
    document = _document(number, note)
    items: list[Resource] = []
    bodies = [(answer, label, body) for answer in note.answers for label, body in _bodies(answer)]
    for place, (answer, label, body) in enumerate(bodies):
        observation = _observation(_id(document["id"], str(place)), answer.task, body, document, device)
        items.append(observation)
        if answer.kind == "entities" and label in conditions:
            items.append(_condition(observation))
    yield document
    yield from items
    if items:
        yield _provenance(document, items, device, origin)


def _observation(name: str, task: str, body: Resource, document: Resource, device: Resource) -> Resource:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "preliminary",
        "category": [{"text": _string(task)}],
        **body,
        "derivedFrom": [_reference(document)],
        "device": _reference(device),
    }


def _condition(observation: Resource) -> Resource:
    """A candidate: whether the patient has it is for a person to say, so that it has no clinical status."""
    return {
        "resourceType": "Condition",
        "id": _id(observation["id"], "condition"),
        "verificationStatus": {"coding": [UNCONFIRMED]},
        "category": observation["category"],
        "code": {"text": observation["valueString"]},
        "subject": {"extension": [ABSENT]},
        "evidence": [{"code": [observation["code"]], "detail": [_reference(observation)]}],
    }


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


def _bodies(answer: TaskAnswer) -> Iterator[tuple[str, Resource]]:
    """What is said of each item of an answer, with the label that it has."""
    yield from ((entity.label, _entity(entity)) for entity in answer.entities)
    yield from ((relation.label, _relation(relation)) for relation in answer.relations)
    for label in answer.categories:
        value = {"valueCodeableConcept": {"text": _string(label)}}
        yield label, {"code": {"text": _string(answer.task)}, **value, **_components({}, answer.confidence)}
    if answer.kind in ("free", "extract", "summary") and answer.answer and answer.answer.strip():
        places = _places(answer.span) if answer.span else {}
        component = {"valueString": _string(answer.answer)}
        yield "", {"code": {"text": _string(answer.task)}, **component, **_components(places, answer.confidence)}


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


def _provenance(document: Resource, items: Sequence[Resource], device: Resource, origin: Origin) -> Resource:
    return {
        "resourceType": "Provenance",
        "id": _id(document["id"], "provenance"),
        "target": [_reference(item) for item in items],
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


WRITER = Writer(
    "FHIR R4 Bundle", ".json", files, "the text of the notes; white space within entities", with_conditions=with_conditions
)
