"""Invented brat folders in the shape of real tools' exports: CRLF texts, UTF-16 offsets, turned relations, halves apart."""

from __future__ import annotations

DOCUMENTS = 14


def crlf() -> dict[str, bytes]:
    """Texts with CRLF whose offsets count a line end as one character: three entities each."""
    files = {}
    for n in range(DOCUMENTS):
        text = f"Visit {n} of the study.\nTakes metoprolol daily.\nKnown atrial fibrillation.\nPulse is 88.\n"
        files |= {f"v{n}.ann": annotated(text, Drug="metoprolol", Problem="atrial fibrillation", Sign="Pulse").encode()}
        files |= {f"v{n}.txt": text.replace("\n", "\r\n").encode()}
    return files


def emoji() -> dict[str, bytes]:
    """Offsets in UTF-16 units behind emoji: two entities each."""
    files = {}
    for n in range(DOCUMENTS):
        text = f"Message {n} \U0001f622\U0001f622 since sertraline I have nausea.\n"
        files |= {f"m{n}.txt": text.encode()}
        files |= {f"m{n}.ann": annotated(text, utf16, Drug="sertraline", Effect="nausea").encode()}
    return files


def relations() -> dict[str, bytes]:
    """Half of the relations written `Arg2:.. Arg1:..`; lines of attributes, remarks and normalisations; one byte order mark."""
    files = {}
    for n in range(DOCUMENTS):
        text = f"Case {n}: amoxicillin caused a rash.\n"
        order = "Arg2:T2 Arg1:T1" if n % 2 == 0 else "Arg1:T1 Arg2:T2\t"
        more = (
            f"R1\tCauses {order}\nA1\tNegation T2\n#1\tAnnotatorNotes T1\tfree text\nN1\tReference T1 RxNorm:723\tAmoxicillin\n"
        )
        mark = "\ufeff" if n == 3 else ""
        files |= {f"c{n}.txt": text.encode()}
        files |= {f"c{n}.ann": (mark + annotated(text, Drug="amoxicillin", Problem="rash") + more).encode()}
    return files


def apart(text_folder: str = "text/", annotation_folder: str = "original/", upper: bool = False) -> dict[str, bytes]:
    """Texts and annotations in folders of their own, or suffixes in capitals: one entity each."""
    files = {}
    for n in range(DOCUMENTS):
        text = f"Post {n}: ibuprofen gave me heartburn.\n"
        suffixes = (".TXT", ".ANN") if upper else (".txt", ".ann")
        files[f"{text_folder}p{n}{suffixes[0]}"] = text.encode()
        files[f"{annotation_folder}p{n}{suffixes[1]}"] = annotated(text, Drug="ibuprofen").encode()
    return files


def characters(text: str) -> int:
    """Count characters."""
    return len(text)


def utf16(text: str) -> int:
    """Count UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def annotated(text: str, length=characters, **mentions: str) -> str:
    """Return brat lines for a mention of each label, with offsets counted by `length`."""
    lines = []
    for number, (label, words) in enumerate(mentions.items(), 1):
        start = length(text[: text.index(words)])
        lines.append(f"T{number}\t{label} {start} {start + length(words)}\t{words}\n")
    return "".join(lines)
