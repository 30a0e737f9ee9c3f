"""Reads the XML of the i2b2 2012 release: notes with events, times, and how they are related in time.

Format: Sun et al. 2013, doi:10.1136/amiajnl-2013-001628. Offsets count characters of the text from 1, after a line break
that starts it. Some released files are not XML, as values hold bare `&`, `<` or quotes, so that the file as a whole is not
parsed: its text is taken as it stands, and each tag is mended and parsed by itself. No entity is ever expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import unescape

from mpdd.data.readers import container
from mpdd.data.readers.base import ENTITY, RELATION, Notes, Record, complete, texts, usable
from mpdd.data.readers.offsets import Starts
from mpdd.data.readers.standoff import Document, Mention, Related, decode, in_order, pieces

REACH = 8
_TEXT = re.compile(r"<TEXT>(?:\s*<!\[CDATA\[(?P<raw>.*?)\]\]>\s*|(?P<escaped>(?!\s*<!\[CDATA).*?))</TEXT>", re.DOTALL)
_TAG = re.compile(r"<(EVENT|TIMEX3|SECTIME|TLINK)\b(.*?)/?>(?=\s*(?:<|\Z))", re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"(.*?)"(?=\s+\w+\s*=\s*"|\s*\Z)', re.DOTALL)
_BARE = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9a-fA-F]+);)")
_NUMBER = re.compile(r"[0-9]{1,9}")
_SAID = ("modality", "polarity")


def read(path: Path, notes: Notes, *, relations: bool = True) -> list[Document]:
    """Return the documents of the `.xml` files, in the order of their names.

    Mentions are the events and the times, each labelled by its `type`, and the times of sections; an event's attributes
    are its modality and polarity. Relations are the TLINKs. A mention is taken where its words stand nearest to its
    offset, up to `REACH` characters off (counted); what cannot be read is noted as bad; TLINKs are passed over if `relations`
    is false. Raise `InputError` as
    `container.read` does, or if nothing is left.
    """
    files = container.read(path, (".xml",))
    contents = ((f"{path}/{name}", name.removesuffix(".xml"), content) for name, content in files.items())
    documents = (_document(where, name, content, notes, relations) for where, name, content in contents)
    return usable(path, [document for document in documents if document is not None])


def _document(where: str, name: str, content: bytes, notes: Notes, relations: bool) -> Document | None:
    """Return a document; None, with all its annotations lost, where its text cannot be read."""
    before = notes.counts.copy()
    document = _read_document(where, name, content, notes, relations)
    if document is None:
        problem = next(iter(notes.counts - before)).removeprefix("skipped: ")
        for match in _TAG.finditer(content.decode("utf-8", "replace")):
            _lose(match[1], dict(_ATTRIBUTE.findall(match[2])), problem, notes)
    return document


def _lose(tag: str, values: Mapping[str, str], problem: str, notes: Notes) -> None:
    """Note the annotation of a tag as lost; times of sections that have no place in the text are none."""
    if tag != "SECTIME" or _NUMBER.fullmatch(values.get("start", "")):
        notes.lose((RELATION if tag == "TLINK" else ENTITY, values.get("type", "")), problem)


def _read_document(where: str, name: str, content: bytes, notes: Notes, relations: bool) -> Document | None:
    decoded = decode(where, content.replace(b"\r\n", b"\n"), notes)
    if decoded is None:
        return None
    element = _TEXT.search(decoded)
    if element is None:
        notes.bad(where, "file without a whole TEXT element", wanted="<TEXT> to </TEXT>")
        return None
    if "<!ENTITY" in decoded[: element.start()]:
        notes.bad(where, "document type with entities", wanted="XML without them")
        return None
    text = _text(element).removeprefix("\n")
    if not text.strip():
        notes.bad(where, "text that is empty", wanted="the text that the annotations are about")
        return None
    tags = list(_tags(where, decoded, element.end(), notes))
    mentions = dict(_mentions([tag for tag in tags if tag[0] != "TLINK"], text, notes))
    links = [record for kind, record in tags if kind == "TLINK" and relations]
    return Document(name, text, tuple(in_order(mentions.values())), tuple(_relations(links, mentions, notes)), ())


def _text(element: re.Match[str]) -> str:
    return element["raw"] if element["raw"] is not None else unescape(element["escaped"], {"&quot;": '"', "&apos;": "'"})


def _tags(where: str, content: str, start: int, notes: Notes) -> Iterator[tuple[str, Record]]:
    for match in _TAG.finditer(content, start):
        place = f"{where} line {content.count(chr(10), 0, match.start()) + 1}"
        try:
            yield match[1], Record(place, dict(ElementTree.fromstring(_mended(match[1], match[2])).attrib))
        except ElementTree.ParseError:
            problem, values = "tag that is not XML", dict(_ATTRIBUTE.findall(match[2]))
            notes.bad(place, problem, wanted='a tag with name="value" attributes')
            _lose(match[1], values, problem, notes)


def _mended(kind: str, attributes: str) -> str:
    """Return a tag whose values are escaped; what is no attribute stays, so that it fails to parse."""
    return f"<{kind} {_ATTRIBUTE.sub(_escaped, attributes)}/>"


def _escaped(match: re.Match[str]) -> str:
    value = _BARE.sub("&amp;", match[2]).replace("<", "&lt;").replace('"', "&quot;")
    return f'{match[1]}="{value}"'


def _mentions(tags: list[tuple[str, Record]], text: str, notes: Notes) -> Iterator[tuple[str, Mention]]:
    seen: set[str] = set()
    pairs = [(int(r.values["start"]) - 1, r.values["text"]) for _, r in tags if _has_start(r) and r.values.get("text")]
    starts = Starts.of(text, pairs)
    for kind, record in tags:
        if kind == "SECTIME" and not _has_start(record):
            notes.count("times of a section that have no place in the text")
        elif complete(record, texts(("id", "start", "text", "type")), notes):
            span = _span(record, text, starts, notes)
            if record["id"] in seen:
                problem = "mention with an id that another has"
                notes.bad(record.where, problem, wanted="an id of its own", annotation=(ENTITY, record["type"]))
            elif span is not None:
                attributes = tuple(record[name] for name in _SAID if record.values.get(name))
                yield record["id"], Mention(record["type"], pieces(text, [span]), attributes)
            seen.add(record["id"])
        else:
            notes.lose((ENTITY, record.values.get("type", "")), "mention with a value missing")


def _has_start(record: Record) -> bool:
    return _NUMBER.fullmatch(record.values.get("start", "")) is not None


def _span(record: Record, text: str, starts: Starts, notes: Notes) -> tuple[int, int] | None:
    """Return the offsets of the place with the mention's words that is nearest to its offset.

    The offset is counted in the way that fits most of the file's (start, words) pairs.
    """
    given = int(record["start"]) - 1 if _has_start(record) else len(text) + REACH
    start = starts.character(given, notes, noun="mentions")
    words = re.compile(r"\s+".join(map(re.escape, record["text"].split())), re.IGNORECASE)
    spans = [match.span() for match in words.finditer(text, max(0, start - REACH)) if match.start() <= start + REACH]
    if not spans:
        wanted, annotation = f"its text within {REACH} characters of its start", (ENTITY, record["type"])
        notes.bad(record.where, "mention that its offsets do not give", wanted=wanted, annotation=annotation)
        return None
    nearest = min(spans, key=lambda span: abs(span[0] - start))
    notes.count("mentions that stand a few characters off their offset", int(nearest[0] != start))
    return nearest


def _relations(records: list[Record], mentions: Mapping[str, Mention], notes: Notes) -> Iterator[Related]:
    for record in records:
        if complete(record, texts(("fromID", "toID", "type")), notes):
            ends = [mentions.get(record[end]) for end in ("fromID", "toID")]
            if ends[0] is not None and ends[1] is not None:
                yield record["type"], ends[0], ends[1]
            else:
                wanted, annotation = "fromID and toID with ids of mentions", (RELATION, record["type"])
                notes.bad(record.where, "relation without two known ends", wanted=wanted, annotation=annotation)
        else:
            notes.lose((RELATION, record.values.get("type", "")), "relation with a value missing")
