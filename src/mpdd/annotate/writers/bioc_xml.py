"""BioC as one XML file. Characters that XML cannot hold (most control characters) become spaces, so that offsets stay right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers.base import File, Origin, Writer, legal_xml
from mpdd.annotate.writers.bioc import collection


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the one file."""
    content = collection(notes, origin)
    root = etree.Element("collection")
    for name in ("source", "date", "key"):
        _leaf(root, name, content[name])
    for document in content["documents"]:
        _document(root, document)
    head = {"xml_declaration": True, "encoding": "UTF-8", "doctype": '<!DOCTYPE collection SYSTEM "BioC.dtd">'}
    yield "", bytes(etree.tostring(root, **head))


def _document(root: etree._Element, document: Mapping[str, Any]) -> None:
    element = etree.SubElement(root, "document")
    _leaf(element, "id", document["id"])
    _infons(element, document["infons"])
    for passage in document["passages"]:
        child = etree.SubElement(element, "passage")
        _infons(child, passage["infons"])
        _leaf(child, "offset", str(passage["offset"]))
        _leaf(child, "text", passage["text"])
        for annotation in passage["annotations"]:
            _annotation(child, annotation)
        for relation in passage["relations"]:
            _relation(child, relation)


def _annotation(passage: etree._Element, annotation: Mapping[str, Any]) -> None:
    element = etree.SubElement(passage, "annotation", id=annotation["id"])
    _infons(element, annotation["infons"])
    for location in annotation["locations"]:
        etree.SubElement(element, "location", offset=str(location["offset"]), length=str(location["length"]))
    _leaf(element, "text", annotation["text"])


def _relation(passage: etree._Element, relation: Mapping[str, Any]) -> None:
    element = etree.SubElement(passage, "relation", id=relation["id"])
    _infons(element, relation["infons"])
    for node in relation["nodes"]:
        etree.SubElement(element, "node", refid=node["refid"], role=node["role"])


def _infons(parent: etree._Element, infons: Mapping[str, str]) -> None:
    for key, value in infons.items():
        etree.SubElement(parent, "infon", key=legal_xml(key)).text = legal_xml(value)


def _leaf(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, name).text = legal_xml(text)


WRITER = Writer("BioC XML", ".xml", files, "control characters of the text, which become spaces")
