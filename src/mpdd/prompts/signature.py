"""Signatures of prompt files (Ed25519, RFC 8032): who made a file, and that it is the one they made.

A signature lies beside the file, as FILE.sig, and covers every byte of it; a file of factors names its metaprompt by digest,
so that the metaprompt is covered too. Keys are PEM files, as `openssl` and other tools read and write them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mpdd.errors import InputError, MpddError
from mpdd.files import cannot_write, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUFFIX = ".sig"
_PURPOSE = b"mpdd prompt file 1\n"  # so that a signature means nothing else
_LONGEST = 10_000  # bytes of a key or a signature


def new_keys(path: Path) -> tuple[Path, Path]:
    """Write a new private key to PATH.key, readable by its owner alone, and its public key to PATH.pub.

    Raises `InputError` where one of them is there already or cannot be written.
    """
    serialization, ed25519 = _library()
    private, public = path.with_name(path.name + ".key"), path.with_name(path.name + ".pub")
    for file in (private, public):
        if os.path.lexists(file):
            raise InputError(f"The file {file} is there already", next_step="Choose another name for the keys.")
    key = ed25519.Ed25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    try:
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(secret)
    except OSError as error:
        raise cannot_write(private, error) from error
    write_atomically(public, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def require_public_keys(keys: Sequence[Path]) -> None:
    """Raise `InputError` for a file that is no public key."""
    for key in keys:
        _public_key(key)


def sign(path: Path, key: Path) -> Path:
    """Write the signature of a file by a private key beside it, and return where. Raises `InputError` for bad files."""
    signature = _private_key(key).sign(_signed(path))
    beside = path.with_name(path.name + SUFFIX)
    write_atomically(beside, base64.b64encode(signature) + b"\n")
    return beside


def verify(path: Path, keys: Sequence[Path], content: bytes | None = None) -> Path:
    """The first of these public keys whose signature lies beside the file; `content` is what was read of the file already.

    Raises `InputError` where there is no signature, or it is by none of the keys, or the file was changed since.
    """
    _library()
    from cryptography.exceptions import InvalidSignature

    if not path.is_file():
        raise InputError("There is no such prompt file", found=str(path), wanted="a file and its signature beside it")
    beside = path.with_name(path.name + SUFFIX)
    if not beside.is_file():
        raise InputError(f"{path.name} is not signed", found=f"no file {beside.name}", next_step="`mpdd prompt sign` makes it.")
    try:
        signature = base64.b64decode(_read_bytes(beside).strip(), validate=True)
    except binascii.Error:
        raise InputError(f"{beside.name} is not a signature", wanted="one line of base64") from None
    signed = _signed(path, content)
    for key in keys:
        try:
            _public_key(key).verify(signature, signed)
        except InvalidSignature:
            continue
        return key
    raise InputError(
        f"The signature of {path.name} is by none of the keys given, or the file was changed since",
        wanted=f"a signature by {' or '.join(key.name for key in keys)}",
    )


def _signed(path: Path, content: bytes | None = None) -> bytes:
    try:
        return _PURPOSE + hashlib.sha256(path.read_bytes() if content is None else content).digest()
    except OSError as error:
        raise InputError(f"The file {path} cannot be read", found=error.strerror or type(error).__name__) from error


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST)
    except OSError as error:
        raise InputError(f"The file {path} cannot be read", found=error.strerror or type(error).__name__) from error


def _private_key(path: Path) -> Ed25519PrivateKey:
    serialization, ed25519 = _library()
    try:
        key = serialization.load_pem_private_key(_read_bytes(path), None)
    except (ValueError, TypeError):  # the latter: it is encrypted
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError(
            f"{path.name} is not a private key", wanted="an Ed25519 key in PEM, without a password",
            next_step="`mpdd prompt new-key NAME` makes one.",
        )  # fmt: skip
    return cast("Ed25519PrivateKey", key)


def _public_key(path: Path) -> Ed25519PublicKey:
    serialization, ed25519 = _library()
    try:
        key = serialization.load_pem_public_key(_read_bytes(path))
    except ValueError:
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InputError(f"{path.name} is not a public key", wanted="an Ed25519 key in PEM, as `mpdd prompt new-key` writes it")
    return cast("Ed25519PublicKey", key)


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MpddError("Signatures need one more library; `pip install 'mpdd[sign]'` brings it.") from error
    return serialization, ed25519
