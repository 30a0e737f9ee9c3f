"""Writers of our own for the exports of annotation tools: texts with spans in characters, and relations between these."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

Span = tuple[int, int, str]


@dataclass(frozen=True)
class Annotated:
    """A text with (start, end, label) spans, and (label, head, tail) relations that name spans by their place."""

    text: str
    spans: tuple[Span, ...]
    relations: tuple[tuple[str, int, int], ...] = ()


def utf16(text: str, place: int) -> int:
    """The place as JavaScript counts it."""
    return len(text[:place].encode("utf-16-le")) // 2


def _json_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _table(rows: list[dict], delimiter: str) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def _label_studio_value(text: str, span: Span) -> dict:
    start, end, label = span
    return {"start": utf16(text, start), "end": utf16(text, end), "text": text[start:end], "labels": [label]}


def label_studio(documents: list[Annotated]) -> bytes:
    """Label Studio's JSON export."""
    tasks = []
    for number, document in enumerate(documents):
        result: list[dict] = [
            {"id": f"r{place}", "from_name": "label", "to_name": "text", "type": "labels", "value": value}
            for place, span in enumerate(document.spans)
            for value in [_label_studio_value(document.text, span)]
        ]
        for label, head, tail in document.relations:
            ends = {"from_id": f"r{head}", "to_id": f"r{tail}"}
            result.append({"type": "relation", "direction": "right", "labels": [label], **ends})
        annotation = {"id": number, "result": result, "was_cancelled": False}
        tasks.append({"id": number, "data": {"text": document.text}, "annotations": [annotation], "predictions": []})
    return json.dumps(tasks, indent=1).encode()


def _label_studio_rows(documents: list[Annotated]) -> list[dict]:
    return [
        {
            "id": number,
            "text": document.text,
            "label": json.dumps([_label_studio_value(document.text, span) for span in document.spans]) if document.spans else "",
            "annotator": 1,
            "annotation_id": number,
            "lead_time": 2.5,
        }
        for number, document in enumerate(documents)
    ]


def label_studio_csv(documents: list[Annotated]) -> bytes:
    """Label Studio's CSV export."""
    return _table(_label_studio_rows(documents), ",")


def label_studio_tsv(documents: list[Annotated]) -> bytes:
    """Label Studio's TSV export."""
    return _table(_label_studio_rows(documents), "\t")


def doccano(documents: list[Annotated]) -> bytes:
    """doccano's JSON lines of a project for sequence labelling."""
    rows = enumerate(documents)
    return _json_lines([{"id": n, "text": d.text, "label": [list(s) for s in d.spans], "Comments": []} for n, d in rows])


def doccano_relations(documents: list[Annotated]) -> bytes:
    """doccano's JSON lines of a project with relations."""
    rows = []
    for number, document in enumerate(documents):
        entities = [
            {"id": 100 * number + place, "label": label, "start_offset": start, "end_offset": end}
            for place, (start, end, label) in enumerate(document.spans)
        ]
        relations = [
            {"id": place, "from_id": 100 * number + head, "to_id": 100 * number + tail, "type": label}
            for place, (label, head, tail) in enumerate(document.relations)
        ]
        rows.append({"id": number, "text": document.text, "entities": entities, "relations": relations, "Comments": []})
    return _json_lines(rows)


def prodigy(documents: list[Annotated]) -> bytes:
    """Prodigy's JSON lines; a rejected and an ignored copy with other spans stand after each example."""
    rows = []
    for number, document in enumerate(documents):
        spans = [{"start": start, "end": end, "label": label} for start, end, label in document.spans]
        relations = [
            {"head": head, "child": tail, "label": label, "head_span": spans[head], "child_span": spans[tail]}
            for label, head, tail in document.relations
        ]
        rows.append({"text": document.text, "_input_hash": number, "_task_hash": number, "spans": spans, "answer": "accept"})
        rows[-1] |= {"relations": relations} if relations else {}
        wrong = [{"start": 0, "end": 1, "label": "Problem"}]
        rows += [{**rows[-1], "spans": wrong, "relations": [], "answer": answer} for answer in ("reject", "ignore")]
    return _json_lines(rows)


def _light_tag_rows(documents: list[Annotated]) -> list[dict]:
    rows = []
    for number, document in enumerate(documents):
        text = document.text
        items = [{"start": s, "end": e, "tag_name": label, "value": text[s:e], "correct": None} for s, e, label in document.spans]
        rows.append({"id": str(number), "content": text, "annotations": items, "classifications": []})
    return rows


def light_tag(documents: list[Annotated]) -> bytes:
    """LightTag's JSON."""
    return json.dumps({"examples": _light_tag_rows(documents)}).encode()


def light_tag_lines(documents: list[Annotated]) -> bytes:
    """LightTag's examples as JSON lines."""
    return _json_lines(_light_tag_rows(documents))


def big_bio(documents: list[Annotated]) -> bytes:
    """Parquet in the schema bigbio_kb; each text is two passages, cut after its first line end or space."""
    rows = []
    for number, document in enumerate(documents):
        text = document.text
        cut = next((place for place, char in enumerate(text) if char in " \n"), len(text))
        parts = [(0, cut), (cut + 1, len(text))] if cut < len(text) else [(0, cut)]
        passages = [{"id": f"p{n}", "type": "x", "text": [text[s:e]], "offsets": [[s, e]]} for n, (s, e) in enumerate(parts)]
        entities = [
            {"id": f"e{place}", "type": label, "text": [text[s:e]], "offsets": [[s, e]], "normalized": []}
            for place, (s, e, label) in enumerate(document.spans)
        ]
        relations = [
            {"id": f"r{place}", "type": label, "arg1_id": f"e{head}", "arg2_id": f"e{tail}", "normalized": []}
            for place, (label, head, tail) in enumerate(document.relations)
        ]
        rows.append({"id": str(number), "document_id": str(number), "passages": passages, "entities": entities})
        rows[-1] |= {"events": [], "coreferences": [], "relations": relations}
    return _parquet(pa.Table.from_pylist(rows))


def bioc(documents: list[Annotated], count: Callable[[str], int] = len) -> bytes:
    """BioC JSON, offsets as `count` counts them; each text is two passages, cut after its first line end or space."""
    rows = []
    for number, document in enumerate(documents):
        text = document.text
        cut = next((place for place, char in enumerate(text) if char in " \n"), len(text))
        parts = [(0, cut), (cut + 1, len(text))] if cut < len(text) else [(0, cut)]
        annotations = [
            {
                "id": f"T{place}",
                "infons": {"type": label},
                "text": text[start:end],
                "locations": [{"offset": count(text[:start]), "length": count(text[start:end])}],
            }
            for place, (start, end, label) in enumerate(document.spans)
        ]
        relations = [
            {
                "id": f"R{place}",
                "infons": {"type": label},
                "nodes": [{"refid": f"T{tail}", "role": "tail"}, {"refid": f"T{head}", "role": "head"}],
            }
            for place, (label, head, tail) in enumerate(document.relations)
        ]
        passages = [
            {
                "offset": count(text[:first]),
                "infons": {},
                "text": text[first:last],
                "annotations": [a for a, (start, *_) in zip(annotations, document.spans, strict=True) if first <= start < last],
                "relations": [],
            }
            for first, last in parts
        ]
        rows.append({"id": str(number), "infons": {}, "passages": passages, "relations": relations})
    return json.dumps({"source": "x", "key": "x", "infons": {}, "documents": rows}, ensure_ascii=False).encode()


def bioc_utf8(documents: list[Annotated]) -> bytes:
    """BioC JSON whose offsets count bytes."""
    return bioc(documents, lambda text: len(text.encode()))


def _parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    return stream.getvalue()


def _tagged(document: Annotated, scheme: str) -> list[tuple[str, str]]:
    """The words of a text with a tag each, as IOB2 or IOBES has them."""
    rows, start = [], 0
    for word in document.text.split(" "):
        end = start + len(word)
        held = next((span for span in document.spans if span[0] <= start and end <= span[1]), None)
        first, last = held is not None and held[0] == start, held is not None and held[1] == end
        letter = "O" if held is None else "B" if first else "I"
        if scheme == "IOBES" and held is not None:
            letter = "S" if first and last else "B" if first else "E" if last else "I"
        rows.append((word, letter if held is None else f"{letter}-{held[2]}"))
        start = end + 1
    return rows


def conll(documents: list[Annotated], scheme: str = "IOB2") -> bytes:
    """A token and its tag a line, with CRLF."""
    return "\r\n".join("".join(f"{word}\t{tag}\r\n" for word, tag in _tagged(d, scheme)) for d in documents).encode()


def conll_iobes(documents: list[Annotated]) -> bytes:
    """The same with IOBES tags, and as CoNLL-2003 has it: spaces between four columns, and a document start."""
    rows = ("".join(f"{w} NN O {t}\n" for w, t in _tagged(document, "IOBES")) for document in documents)
    return ("-DOCSTART- -X- -X- O\n\n" + "\n".join(rows)).encode()


def hugging_face_tokens(documents: list[Annotated]) -> bytes:
    """Parquet with tokens and the numbers of their classes, which the metadata name."""
    tagged = [_tagged(document, "IOB2") for document in documents]
    names = sorted({tag for rows in tagged for _, tag in rows} | {"O"})
    tokens = [[word for word, _ in rows] for rows in tagged]
    tags = [[names.index(tag) for _, tag in rows] for rows in tagged]
    features = {"ner_tags": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return _parquet(pa.table({"tokens": tokens, "ner_tags": tags}).replace_schema_metadata(metadata))


def pubtator(documents: list[Annotated]) -> bytes:
    """PubTator; the first word of each text is the title."""
    lines = []
    for number, document in enumerate(documents):
        title, _, abstract = document.text.partition(" ")
        lines += [f"{number}|t|{title}", f"{number}|a|{abstract}"]
        lines += [f"{number}\t{s}\t{e}\t{document.text[s:e]}\t{label}\tD1" for s, e, label in document.spans]
        lines.append("")
    return "\r\n".join(lines).encode()


def plain_json_lines(documents: list[Annotated]) -> bytes:
    """JSON lines of nobody's, under our own names."""
    return _json_lines([{"text": d.text, "entities": [list(span) for span in d.spans]} for d in documents])


WRITERS: dict[str, tuple[str, Callable[[list[Annotated]], bytes]]] = {
    "label-studio": ("a.json", label_studio),
    "label-studio-csv": ("a.csv", label_studio_csv),
    "label-studio-tsv": ("a.tsv", label_studio_tsv),
    "doccano": ("a.jsonl", doccano),
    "doccano-relations": ("a.jsonl", doccano_relations),
    "prodigy": ("a.jsonl", prodigy),
    "lighttag": ("a.json", light_tag),
    "lighttag-lines": ("a.jsonl", light_tag_lines),
    "bigbio": ("a.parquet", big_bio),
    "bioc": ("a.json", bioc),
    "bioc-utf8": ("a.json", bioc_utf8),
    "plain": ("a.jsonl", plain_json_lines),
}
TOKEN_WRITERS: dict[str, tuple[str, Callable[[list[Annotated]], bytes]]] = {
    "conll": ("a.conll", conll),
    "conll-iobes": ("a.txt", conll_iobes),
    "tokens": ("a.parquet", hugging_face_tokens),
    "pubtator": ("a.txt", pubtator),
}


def write(folder: Path, name: str, documents: list[Annotated]) -> Path:
    """Write the documents as an export; return the file's path."""
    file, writer = (WRITERS | TOKEN_WRITERS)[name]
    path = folder / file
    path.write_bytes(writer(documents))
    return path
