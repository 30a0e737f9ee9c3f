"""What every reader shares: a file's text, records that know where they stand, and counts of what was skipped.

Messages name the file, the line or record, and the field; they never carry a record's content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mpdd.data.readers import compressed
from mpdd.errors import InputError

Item = TypeVar("Item")
NEWLINE = b"\n"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SIGNATURES = {  # how files begin that are given for texts by mistake
    b"PK\x03\x04": "a zip file or a workbook",
    b"\x1f\x8b": "a gzip file (without .gz in its name)",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF file",
    b"\xd0\xcf\x11\xe0": "an old Word or Excel file",
}
Annotation = tuple[str, str]  # the kind of an annotation, ENTITY or RELATION, and its label in the file ("" if not readable)
ENTITY, RELATION = "entity", "relation"
# Why an annotation is no gold item of an example; beside these, ACROSS of `windows` and the problems of what is skipped.
NOT_ON_CARD, DISCONTINUOUS, REPEATED = "label not on the card", "discontinuous", "repeated"
UNMENTIONED = "with an argument that the text does not mention"
# Notes of several readers, for texts that more or fewer people annotated than one
UNANNOTATED = "texts that nobody annotated left out"
FURTHER = "further annotations of the same text left out"
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError)


RECOGNISED = "recognised as"
# In notes about how something was read, not about what was left out.
_ON_READING = (
    RECOGNISED, "with offsets in", "nearest to the offset", "off their offset", "trimmed of whitespace", "read in the order",
)  # fmt: skip


class NoRecordError(InputError):
    """Nothing of a file can be used; `what` says of which."""

    def __init__(self, what: str) -> None:
        super().__init__(what, found=0, wanted="at least one")
        self.what = what


def is_about_reading(note: str) -> bool:
    """Whether a note says how something was read, so that nothing is lost."""
    return any(words in note for words in _ON_READING)


def nothing_left(what: str, counts: Counter[str]) -> InputError:
    """Return the error for data of which nothing can be used, with the commonest of the reasons noted."""
    left_out = [(number, reason) for reason, number in counts.most_common() if not is_about_reading(reason)]
    reasons = [f"{number} {reason}" for number, reason in left_out[:1]]
    next_step = "`mpdd task check --strict` says where the first one stands." if reasons else ""
    return InputError(what, found="".join(reasons) or 0, wanted="at least one", next_step=next_step)


@dataclass
class Notes:
    """Counts, by reason, of what reading a task dropped or cut; with `strict` a bad record raises instead.

    `lost` counts the annotations that became no gold item of an example, by kind ("entity" or "relation"), label and reason.
    `places` says for each kind of bad record where the first one stands (file and line).
    """

    strict: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)
    lost: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def count(self, reason: str, number: int = 1) -> None:
        """Add `number` to `reason`; nothing is noted for zero."""
        if number:
            self.counts[reason] += number

    def bad(self, where: str, problem: str, *, wanted: str, annotation: Annotation | None = None) -> None:
        """Count a record that is skipped; raise `InputError` naming where it stands when `strict`.

        `annotation` is the kind and label of the gold item that is lost with it.
        """
        if self.strict:
            raise InputError(f"{where}: {problem}", wanted=wanted, next_step="Correct this record in the file.")
        self.count(f"skipped: {problem}")
        self.places.setdefault(f"skipped: {problem}", where)
        if annotation:
            self.lose(annotation, problem)

    def lose(self, annotation: Annotation, reason: str, number: int = 1) -> None:
        """Add `number` annotations of this kind and label to those lost for `reason`."""
        if number:
            self.lost[(*annotation, reason)] += number


@dataclass(frozen=True)
class Record:
    """The named values of one record, and where it stands (file and line), for messages."""

    where: str
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Return a field's value; raise KeyError if it is not there."""
        return self.values[name]

    def text(self, name: str) -> str:
        """Return a value as tidy text."""
        return tidy(str(self.values[name]))


def tidy(text: str) -> str:
    """Return `text` with runs of spaces made single and empty lines dropped; line breaks stay."""
    lines = (" ".join(line.split()) for line in text.replace("\r", "\n").split("\n"))
    return "\n".join(line for line in lines if line)


def read_bytes(path: Path, *, may_be_blank: bool = False) -> bytes:
    """Return a file's bytes, those of a gzip file (.gz) unpacked; raise `InputError` if it is missing, unreadable or empty."""
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = "is not there" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise InputError(f"The file {path} {reason}", wanted="a readable file") from error
    if path.suffix.lower() == compressed.SUFFIX:
        content = compressed.unpacked(path, content)
    if not may_be_blank and not content.strip():
        raise InputError(f"The file {path} is empty", found=f"{len(content)} bytes", wanted="at least one record")
    return content


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text, line ends as they are; raise `InputError` as `read_bytes` does, or if not UTF-8."""
    return decode(path, read_bytes(path))


def decode(path: Path, content: bytes, *, keep_mark: bool = False) -> str:
    """Return a file's content as text, without the byte order mark unless `keep_mark`.

    Raise `InputError` naming the line that is not UTF-8, and what the file seems to be instead.
    """
    start = 0
    if not _is_wide(content):
        try:
            return content.decode("utf-8" if keep_mark else "utf-8-sig")
        except UnicodeDecodeError as error:
            start = error.start
    kind, encoding = _kind_of(content, f"another encoding on line {content.count(NEWLINE, 0, start) + 1} (byte {start})")
    command = f", for example with `iconv -f {encoding} -t UTF-8`" if encoding else ""
    raise InputError(
        f"The file {path} is not UTF-8 text", found=kind, wanted="UTF-8", next_step=f"Save it as UTF-8{command}."
    ) from None


def _kind_of(content: bytes, otherwise: str) -> tuple[str, str]:
    """What bytes that are no UTF-8 seem to be, and the name of the encoding; `otherwise` and nothing where none fits."""
    if _is_wide(content):
        return "UTF-16 text", "UTF-16"
    for start, kind in _SIGNATURES.items():
        if content.startswith(start):
            return kind, ""
    if b"\0" in content:
        return "a binary file", ""
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return otherwise, ""
    return f"{otherwise}, perhaps Windows-1252 (cp1252)", "CP1252"


def _is_wide(content: bytes) -> bool:
    """Whether it seems to be text in UTF-16: with its mark, or every other byte zero."""
    start = content[:64]
    return start.startswith(_WIDE_MARKS) or (len(start) > 3 and not (start[::2].strip(b"\0") and start[1::2].strip(b"\0")))


def read_lines(path: Path) -> list[str]:
    """Return a UTF-8 file's lines without their ends; only a newline ends a line (not, say, U+2028)."""
    return [line.removesuffix("\r") for line in read_text(path).split("\n")]


def complete(record: Record, fields: Mapping[str, type], notes: Notes) -> bool:
    """Say whether each field is there, of its type and, if text, valid and not blank; otherwise note the record as bad."""
    for name, kind in fields.items():
        value = record.values.get(name)
        problem = ""
        if value is None:
            problem = "is missing"
        elif not isinstance(value, kind):
            problem = f"is a {type(value).__name__}"
        elif isinstance(value, str) and not value.strip():
            problem = "is empty"
        elif isinstance(value, str) and not is_unicode(value):
            problem = "is not Unicode"
        if problem:
            notes.bad(record.where, f"field {name!r} {problem}", wanted=f"a {kind.__name__} that is not empty")
            return False
    return True


def is_unicode(text: str) -> bool:
    """Say whether a text has whole characters only, and no half of a surrogate pair, as JSON can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def texts(names: Iterable[str]) -> dict[str, type]:
    """Return the requirement, for `complete`, that each of these fields holds text."""
    return dict.fromkeys(names, str)


def check_columns(path: Path, header: Sequence[str], columns: Iterable[str]) -> None:
    """Raise `InputError` naming the columns that a table's header lacks; what it has could be note text."""
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise InputError(
            f"The table {path} has columns of the same name (line 1)",
            found=f"{len(named)} names, {len(set(named))} of them different",
            wanted="a name of its own for each column",
        )
    missing = [name for name in columns if name not in header]
    if missing:
        raise InputError(
            f"The table {path} lacks columns (line 1)",
            found=f"a first line with {sum(map(bool, header))} names",
            wanted=f"also {missing}",
            next_step="Name the columns in the first line.",
        )


def usable(path: Path, items: list[Item]) -> list[Item]:
    """Return `items`; raise `NoRecordError` if there are none."""
    if not items:
        raise NoRecordError(f"The {'folder' if path.is_dir() else 'file'} {path} has no usable record")
    return items


def build(records: Iterable[Record], make: Callable[[Record], Item], notes: Notes) -> list[Item]:
    """Return `make(record)` for each record; one whose inside lacks what `make` looks for is noted as bad."""
    built = []
    for record in records:
        try:
            built.append(make(record))
        except _MALFORMED as error:
            notes.bad(record.where, f"malformed record ({_what(error)})", wanted="the fields that its format has")
    return built


def _what(error: Exception) -> str:
    """Name the missing field of a KeyError, else only the error's type: its message could quote content."""
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    return f"no {key!r}" if isinstance(key, str) and key.isidentifier() else type(error).__name__
