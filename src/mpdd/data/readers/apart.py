"""Pairs annotation files with the texts that they are about, which may lie in folders of their own."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mpdd.data.readers import container
from mpdd.errors import InputError

ANNOTATIONS, TEXT = ".ann", ".txt"


@dataclass(frozen=True)
class Files:
    """The annotation files and texts of a folder or archive, by name, with their contents; `borrowed` texts lie elsewhere."""

    contents: Mapping[str, bytes]
    borrowed: bool

    @classmethod
    def of(cls, path: Path, others: Sequence[Path]) -> Files:
        """Read `path`, and the texts of the `others` where it has none itself; errors as those of `container.read`."""
        files = container.read(path, (ANNOTATIONS, TEXT))
        if not others or any(name.endswith(TEXT) for name in files):
            return cls(files, borrowed=False)
        for other in others:
            read = container.read(other, (ANNOTATIONS, TEXT))
            files |= {f"{other}/{name}": content for name, content in read.items() if name.endswith(TEXT)}
        return cls(files, borrowed=True)

    def ending(self, suffix: str) -> list[str]:
        """Return the names with one of the two suffixes."""
        return [name for name in self.contents if name.endswith(suffix)]


def serves_others(path: Path, others: Sequence[Path]) -> bool:
    """Say whether one of the `others` has annotation files but no text, and so takes those of `path`."""
    return any(not Files.of(other, ()).ending(TEXT) for other in others if other != path)


def pairs(path: Path, files: Iterable[str]) -> dict[str, str | None]:
    """Return the text of each annotation file: the one beside it, else the only one of its name; None where there is none.

    Raise `InputError` where no annotation file has a text, or several are about the same one.
    """
    files = list(files)
    texts = [name for name in files if name.endswith(TEXT)]
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for name in texts:
        by_name[PurePosixPath(name).name].append(name)
    annotations = [name for name in files if name.endswith(ANNOTATIONS)]
    text_of = {name: _text_of(name, set(texts), by_name) for name in annotations}
    if not any(text_of.values()):
        raise _lying_apart(path, annotations, texts)
    _require_one_each(path, text_of)
    return text_of


def _text_of(name: str, texts: set[str], by_name: Mapping[str, Sequence[str]]) -> str | None:
    beside = name.removesuffix(ANNOTATIONS) + TEXT
    if beside in texts:
        return beside
    same = by_name.get(PurePosixPath(beside).name, ())
    return same[0] if len(same) == 1 else None


def _require_one_each(path: Path, text_of: Mapping[str, str | None]) -> None:
    number = Counter(text for text in text_of.values() if text is not None)
    several = [text for text, count in number.items() if count > 1]
    if several:
        folders = sorted({str(PurePosixPath(name).parent) for name, text in text_of.items() if text in several})
        raise InputError(
            f"{path} has several annotation files for the same text",
            found=f"{len(several)} such texts, annotated in the folders {', '.join(folders)}",
            wanted="one annotation file for each text",
            next_step=f'List the folder of the texts and one of these: train = ["TEXTS", "{folders[0]}"].',
        )


def _lying_apart(path: Path, annotations: Sequence[str], texts: Sequence[str]) -> InputError:
    """Return the error for a folder in which no annotation file has a text; it says where the other half lies."""
    what, half, suffix = (("texts", annotations, TEXT), ("annotation files", texts, ANNOTATIONS))[not annotations]
    wanted = "for each text NAME.txt the annotations NAME.ann"
    if annotations and texts:
        counts = f"{len(annotations)} annotation files and {len(texts)} texts of other names"
        return InputError(f"No annotation file in {path} has a text of its name", found=counts, wanted=wanted)
    folder = sibling_with(path, half, suffix)
    if folder is None:
        return InputError(
            f"{path} has no {what}", found=f"{len(half)} files {'*.ann' if annotations else '*.txt'} alone", wanted=wanted
        )
    return InputError(
        f"{path} has no {what}: those of the same names lie in {folder}",
        wanted=wanted,
        next_step=f"Name the folder above, {path.parent}, or list both folders.",
    )


def sibling_with(path: Path, half: Sequence[str], suffix: str) -> Path | None:
    """Return a folder beside `path` that holds the other half of one of its files: that with another `suffix`."""
    wanted = {PurePosixPath(name).with_suffix(suffix).name.lower() for name in half}
    try:
        folders = sorted(folder for folder in path.parent.iterdir() if folder.is_dir() and folder != path)
        return next((f for f in folders if wanted & {name.lower() for name in os.listdir(f)}), None)
    except OSError:
        return None
