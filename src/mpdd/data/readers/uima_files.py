"""Finds UIMA's CAS files (XMI) with their type systems: alone, in folders and archives, in projects of INCEpTION.

INCEpTION exports a document as a zip of `NAME.xmi` and `TypeSystem.xml`, and a project as a zip that holds such zips:
one for each annotator in `annotation/DOCUMENT/`, the curated one in `curation/DOCUMENT/`.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mpdd.data.readers import container
from mpdd.data.readers.base import FURTHER, UNANNOTATED, Notes, read_bytes, usable
from mpdd.errors import InputError

SUFFIX = ".xmi"
_TYPES, _ZIP = ".xml", ".zip"
_TYPE_SYSTEM = b"typeSystemDescription"  # the root element of a type system
_HEAD = 4096  # bytes of a file in which its root element stands
_ANNOTATED, _CURATED = "annotation", "curation"  # the folders of a project
_NOBODY, _CURATOR = "INITIAL_CAS", "CURATION_USER"  # stand for a user where nobody annotated, and for the curator


@dataclass(frozen=True)
class Source:
    """A CAS file: where it is, for messages; the name of its document; its content, and that of its type system."""

    where: str
    name: str
    content: bytes
    types: bytes


@dataclass(frozen=True)
class _Version:
    """A file of a project, `folder/annotation/document/who.zip` or the same unpacked; `who` are names of the user."""

    folder: str
    document: str
    is_curated: bool
    who: frozenset[str]

    @classmethod
    def of(cls, name: str) -> _Version | None:
        """Tell a file by its path; None for a file that lies in no such folder."""
        parts = PurePosixPath(name).parts
        place = next((n for n, part in enumerate(parts[:-2]) if part in (_ANNOTATED, _CURATED)), None)
        if place is None:
            return None
        who = frozenset(PurePosixPath(part).stem for part in parts[place + 2 :])
        return cls("/".join(parts[:place]), parts[place + 1], parts[place] == _CURATED or _CURATOR in who, who)


def is_project(names: Iterable[str]) -> bool:
    """Say whether files of these names (paths inside a folder or archive) are a project that INCEpTION exported."""
    for name in names:
        version = _Version.of(name)
        if version and (name.lower().endswith(_ZIP) or not version.who.isdisjoint((_NOBODY, _CURATOR))):
            return True
    return False


def sources(path: Path, notes: Notes) -> list[Source]:
    """Return the CAS files of a file, a folder or an archive, sorted by name.

    Of a project each document is taken once: as it was curated, else as its first annotator by name left it. Other
    versions and documents that nobody annotated are counted. Raise `InputError` as `container.read` does, and where a
    file has no type system.
    """
    if not path.is_dir() and not _is_archive(path):
        beside = [file for file in path.parent.glob("*") if file.suffix.lower() == _TYPES and file.is_file()]
        files = {path.name: read_bytes(path), **{file.name: file.read_bytes() for file in beside}}
        return [_source(str(path), path.name, files)]
    start = f"{path.name}/" if path.name in (_ANNOTATED, _CURATED) else ""
    packed = {start + name: content for name, content in container.read(path, (SUFFIX, _TYPES, _ZIP)).items()}
    files = dict(_unpacked(path, packed))
    chosen = sorted(name for name in files if name.endswith(SUFFIX))
    if not chosen:
        next_step = "Export the project from INCEpTION with UIMA CAS XMI (XML 1.0) as its format."
        raise InputError(f"{path} holds no file that ends in {SUFFIX}", wanted="at least one", next_step=next_step)
    if is_project(packed):
        chosen = _chosen(chosen, notes)
    return usable(path, [_source(f"{path}/{name.removeprefix(start)}", name, files) for name in chosen])


def _is_archive(path: Path) -> bool:
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def _unpacked(path: Path, files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the files by their path; those of a zip stand in a folder of its name."""
    for name, content in files.items():
        if name.endswith(_ZIP):
            inside = container.unzipped(path / name, content, (SUFFIX, _TYPES))
            yield from ((f"{name.removesuffix(_ZIP)}/{member}", packed) for member, packed in inside.items())
        else:
            yield name, content


def _source(where: str, name: str, files: Mapping[str, bytes]) -> Source:
    """Return a CAS file with the type system in its folder, or in the nearest folder above."""
    for folder in PurePosixPath(name).parents:
        beside = sorted(file for file in files if PurePosixPath(file).parent == folder)
        systems = (files[file] for file in beside if file.lower().endswith(_TYPES))
        types = next((content for content in systems if _TYPE_SYSTEM in content[:_HEAD]), None)
        if types is not None:
            version = _Version.of(name)
            return Source(where, version.document if version else PurePosixPath(name).stem, files[name], types)
    raise InputError(
        f"There is no type system beside {where}",
        wanted="the TypeSystem.xml that was exported with it, in the same folder",
        next_step="INCEpTION packs both into one zip, which can be given as it is.",
    )


def _chosen(names: Iterable[str], notes: Notes) -> list[str]:
    """Return one file for each document of a project; its other files, such as sources, are no annotations."""
    documents: dict[tuple[str, str], list[tuple[str, _Version]]] = {}
    for name in names:
        if version := _Version.of(name):
            documents.setdefault((version.folder, version.document), []).append((name, version))
    chosen = []
    for versions in documents.values():
        annotated = sorted((not version.is_curated, name) for name, version in versions if _NOBODY not in version.who)
        notes.count(UNANNOTATED, int(not annotated))
        notes.count(FURTHER, max(0, len(annotated) - 1))
        chosen += [name for _, name in annotated[:1]]
    return sorted(chosen)
