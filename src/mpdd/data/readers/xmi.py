"""Reads UIMA's CAS files (XMI), as INCEpTION exports them, through `dkpro-cassis`: text, annotations, features.

Format: https://uima.apache.org/d/uimaj-current/references.html. XMI counts UTF-16 units; offsets here count characters.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpdd.data.readers.base import Notes, Record, decode, usable
from mpdd.data.readers.uima_files import Source, sources
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

    Raise `InputError` for a file that is damaged or does not fit its type system, and as `uima_files.sources` does;
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
