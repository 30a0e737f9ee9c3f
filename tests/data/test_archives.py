"""Archives that are damaged, or that unpack to far more than texts do, end in one sentence."""

import gzip
import io
import tarfile
import zipfile

import openpyxl
import pyarrow as arrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mpdd.data.readers import compressed, container
from mpdd.data.readers.base import Notes, read_text
from mpdd.data.readers.parquet import read as read_parquet
from mpdd.data.tasks import meqsum
from mpdd.errors import InputError
from tests.conftest import tries

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def zipped(name, content, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def tarred(name, content, compression):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def workbook(rows):
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


def read_container(path):
    return container.read(path, (".txt",))


def read_workbook(path):
    return meqsum.read_workbook(path, ("text",), Notes())


WHOLE = [
    *((read_container, "a.zip", zipped("a.txt", "one two " * 50, method)) for method in METHODS),
    *((read_container, "a.tar", tarred("a.txt", b"one two " * 50, compression)) for compression in ("", "gz", "bz2", "xz")),
    (read_workbook, "a.xlsx", workbook([["text"], ["one"], ["two"]])),
    (read_text, "a.csv.gz", gzip.compress(b"id,text\n1,one\n", mtime=0)),
]
NAMES = ["stored", "deflated", "bzip2", "lzma", "tar", "tar.gz", "tar.bz2", "tar.xz", "xlsx", "gz"]


@pytest.mark.parametrize(("read", "name", "content"), WHOLE, ids=NAMES)
def test_a_damaged_archive_is_read_or_ends_in_one_sentence(read, name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    whole = read(path)
    assert whole

    @settings(max_examples=tries(40), deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
    def damage(changes, cut):
        damaged = bytearray(content)
        for place, byte in changes:
            damaged[place] = byte
        path.write_bytes(damaged[: changes[0][0]] if cut else damaged)
        try:
            read(path)
        except InputError as error:
            assert "one two" not in str(error)

    damage()


@pytest.mark.parametrize("change", [b"<row><c t='n'><v>x</v></c></row>", b"<row r='x'>", b"</sheetData></worksheet>garbage<"])
def test_a_workbook_with_a_bad_sheet_is_one_sentence(change, tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook([["text"], ["one"]]))) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b"</sheetData>", change) if "sheet1" in name else content)
    (tmp_path / "a.xlsx").write_bytes(out.getvalue())
    with pytest.raises(InputError, match="a.xlsx is not a readable Excel workbook"):
        read_workbook(tmp_path / "a.xlsx")


ZEROS = b"0" * 50_000


def table_of(texts):
    """A compressed Parquet file of these texts, each of which is stored once."""
    out = io.BytesIO()
    parquet.write_table(arrow.table({"text": texts}), out, compression="zstd", use_dictionary=True)
    return out.getvalue()


BOMBS = [
    (read_parquet, "one_text.parquet", table_of([ZEROS.decode() * 40])),
    (read_parquet, "many_rows.parquet", table_of(["0" * 5000] * 200)),
    (read_container, "a.zip", zipped("a.txt", ZEROS)),
    (read_container, "a.tar.gz", tarred("a.txt", ZEROS, "gz")),
    (read_container, "a.tar.xz", tarred("other.bin", ZEROS, "xz")),
    (read_workbook, "a.xlsx", zipped("xl/worksheets/sheet1.xml", ZEROS)),
    (read_text, "a.csv.gz", gzip.compress(ZEROS, mtime=0)),
]


@pytest.mark.parametrize(("read", "name", "content"), BOMBS, ids=[name for _, name, _ in BOMBS])
def test_what_unpacks_to_far_more_than_texts_do_is_refused(read, name, content, tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "ALWAYS_TAKEN", 20_000)
    monkeypatch.setattr(compressed, "_CHUNK", 4096)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} unpacks to far more than texts do; found more than .* unpack it first"):
        read(tmp_path / name)


def test_small_archives_may_hold_what_they_like(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped("a.txt", ZEROS))
    assert read_container(tmp_path / "a.zip") == {"a.txt": ZEROS}
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(ZEROS))
    assert read_text(tmp_path / "a.txt.gz") == ZEROS.decode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id,text\n1,M\u00e9ni\u00e8re\n".encode("cp1252"),
            "another encoding on line 2 (byte 11), perhaps Windows-1252 (cp1252)",
        ),
        ("id,text\n".encode("utf-16"), "found UTF-16 text; wanted UTF-8. Save it as UTF-8, for example with `iconv -f UTF-16"),
        ("id,text\n".encode("utf-16-le"), "found UTF-16 text"),
        ("id,text\n".encode("utf-16-be"), "found UTF-16 text"),
        (zipped("a", "b\xff" * 99), "found a zip file or a workbook"),
        (gzip.compress(b"id,text", mtime=0), "found a gzip file (without .gz in its name)"),
        (b"ok\n\x81\x8d\xff", "found another encoding on line 2 (byte 3); wanted UTF-8. Save it as UTF-8."),
    ],
)
def test_an_encoding_is_named(content, message, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_text(tmp_path / "a.csv")
    assert message in str(caught.value)
