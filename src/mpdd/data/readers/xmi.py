"""Reads UIMA's CAS files (XMI), as INCEpTION exports them, through `dkpro-cassis`: text, annotations, features.

Format: https://uima.apache.org/d/uimaj-current/references.html. XMI counts UTF-16 units; offsets here count characters.
"""

from __future__ import annotations

import tarfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mpdd.data.readers import container
from mpdd.data.readers.base import FURTHER, UNANNOTATED, Notes, Record, decode, read_bytes, usable
from mpdd.errors import InputError, MpddError

_MISPLACED = "Not mapping external offset"  # how cassis warns of an offset within a character, or past the text
_METADATA = "DocumentMetaData"  # the type that names the document
_BASE, _STRING = "uima.cas.AnnotationBase", "uima.cas.String"
_ENDS = {"Governor": "head", "Dependent": "tail"}  # features of a relation: it runs from its governor to its dependent


def read(path: Path, notes: Notes) -> list[Record]:
    """Return the documents of a file, folder or archive, with `text`, `id`, `types` and `feature_structures`.

    `types` gives the features that hold text for each type of annotation; a feature structure has its `id`, `type` and
    `features`, `start` and `end` unless it is about the whole document, `head` and `tail` if it is a relation. What a
    feature refers to is given by its id. A document with an offset that stands within a character is noted as bad.

    Raise `InputError` for a file that is damaged or does not fit its type system, and as `sources` does;
    `MpddError` where cassis is not installed.
    """
    cas_files = sources(path, notes)
    try:
        import cassis  # noqa: F401
    except ImportError as error:
        message = f"{path} holds UIMA CAS files; `pip install 'mpdd[inception]'` brings what reads them."
        raise MpddError(message) from error
    systems: dict[bytes, Any] = {}
    records = []
    for source in cas_files:
        if source.types not in systems:
            systems[source.types] = _type_system(source)
        values = _values(source, systems[source.types], notes)
        records += [] if values is None else [Record(source.where, values)]
    return usable(path, records)


def _type_system(source: Source) -> Any:
    from cassis import load_typesystem

    try:
        with warnings.catch_warnings(action="ignore"):
            return load_typesystem(_plain_xml(f"the type system of {source.where}", source.types))
    except InputError:
        raise
    except Exception as error:  # cassis names no kinds of its own for what is damaged
        raise _unreadable(f"The type system of {source.where}", error) from None


def _values(source: Source, types: Any, notes: Notes) -> dict[str, Any] | None:
    """Return the values of a document; None, noted as bad, where an offset cannot be right."""
    from cassis import load_cas_from_xmi

    try:
        with warnings.catch_warnings(record=True, action="always") as given_warnings:
            cas = load_cas_from_xmi(_plain_xml(source.where, source.content), typesystem=types)
        if any(_MISPLACED in str(warning.message) for warning in given_warnings):
            problem = "document with an offset within a character or past its text"
            notes.bad(source.where, problem, wanted="UTF-16 units")
            return None
        view = _view(cas)
        structures = [_structure(structure) for structure in view.select_all_fs()]
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(f"The file {source.where}", error) from None
    metadata = (structure["features"] for structure in structures if structure["type"].endswith(_METADATA))
    titles = (features.get("documentTitle") for features in metadata)
    name = next((title for title in titles if title), source.name)
    return {"id": name, "text": view.sofa_string, "types": dict(_types(types)), "feature_structures": structures}


def _plain_xml(where: str, content: bytes) -> str:
    """Return the XML; raise `InputError` for a document type, which such files have not and attacks use."""
    text = decode(Path(where), content)
    if "<!DOCTYPE" in text:
        raise InputError(f"The file {where} has a document type", wanted="XML without <!DOCTYPE, as UIMA writes it")
    return text


def _unreadable(what: str, error: Exception) -> InputError:
    return InputError(
        f"{what} cannot be read as UIMA CAS XMI",
        found=type(error).__name__,
        wanted="a whole file of XML 1.0 that fits the type system beside it",
        next_step="Export it again, in INCEpTION as UIMA CAS XMI (XML 1.0).",
    )


def _view(cas: Any) -> Any:
    """Return the view that has the text: the initial one, unless that is empty."""
    named = [sofa.sofaID for sofa in cas.sofas if sofa.sofaString]
    return cas if cas.sofa_string or not named else cas.get_view(named[0])


def _types(system: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield each type of annotation with its features that hold text."""
    for kind in system.get_types():
        if system.is_instance_of(kind, _BASE):
            yield kind.name, [_name(feature) for feature in kind.all_features if _STRING in feature.rangeType.name]


def _structure(structure: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"id": str(structure.xmiID), "type": structure.type.name, "features": {}}
    for feature in structure.type.all_features:
        name, value = _name(feature), structure[feature.name]
        if name in ("begin", "end"):
            values["start" if name == "begin" else "end"] = value
        elif name in _ENDS:
            values[_ENDS[name]] = _plain(value)
        elif name != "sofa" and value is not None:
            values["features"][name] = _plain(value)
    return values


def _name(feature: Any) -> str:
    """Return the name of a feature: cassis puts `_` behind `self` and `type`."""
    name = str(feature.name)
    return name.removesuffix("_") if name in ("self_", "type_") else name


def _plain(value: Any) -> Any:
    """Return a value as text and numbers: another structure by its id, a link by role and target, lists of these."""
    if hasattr(value, "elements"):
        return [_plain(item) for item in value.elements or []]
    if not hasattr(value, "xmiID"):
        return value
    if hasattr(value, "role") and hasattr(value, "target"):
        return {"role": value.role, "target": _plain(value.target)}
    return str(value.xmiID)


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
