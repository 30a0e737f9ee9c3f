"""The route that writes notes and their answers, as the page has them after correcting, in another tool's format."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi import Request as HttpRequest
from starlette.concurrency import run_in_threadpool

from mpdd.annotate.answers.file import checked
from mpdd.annotate.answers.results import answer_of
from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers import formats, writer
from mpdd.annotate.writers.base import File, Origin
from mpdd.errors import InputError, MpddError
from mpdd.serving.access import Caller
from mpdd.serving.bodies import RefusedError, described, read_body
from mpdd.serving.guard import account_of
from mpdd.serving.schema import ERRORS, AnsweredNote, Convert
from mpdd.serving.service import Service

_LISTS = ("entities", "relations", "labels")


def add_convert_route(app: FastAPI, service: Service, caller: Callable[[HttpRequest], Awaitable[Caller]]) -> None:
    """Add `POST /v1/convert`: no engine is asked, and nothing is kept."""
    authorized = Depends(caller)

    @app.post("/v1/convert", responses=ERRORS, response_class=Response, openapi_extra=described(Convert))
    async def convert(request: HttpRequest, who: Caller = authorized) -> Response:
        """Notes and answers as a file of another tool's format, or as a zip of its files. Each item counts as a row."""
        async with service.admission.admitted(who.name) as place:
            body = await read_body(request, Convert)
            account_of(request.scope).characters = sum(len(note.text) for note in body.notes)
            place.take(1 + _items(body.notes, service))
            return await run_in_threadpool(converted, body)


def _items(notes: Sequence[AnsweredNote], service: Service) -> int:
    """How many items the answers have. Raise `RefusedError` 413 where these, or the characters of a note, are too many."""
    limits = service.limits
    if any(len(note.text) > limits.characters for note in notes):
        raise RefusedError(413, "too_long", f"notes: a text is longer than {limits.characters:,} characters.")
    items = sum(_length(answer.get(name)) for note in notes for answer in note.answers for name in _LISTS)
    if items > limits.items:
        message = f"answers: {items:,} items, and a request may have {limits.items:,}; send fewer notes at a time."
        raise RefusedError(413, "too_many_items", message)
    return items


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def converted(body: Convert) -> Response:
    """The file, or a zip of the files. Raise `RefusedError` 422 where answers do not fit, or the format cannot hold them."""
    if body.to not in formats():
        raise RefusedError(422, "no_such_format", f"to: no such format; wanted one of {', '.join(formats())}.")
    notes = [_annotated(number, note) for number, note in enumerate(body.notes, start=1)]
    try:
        chosen = writer(body.to, body.conditions)
    except InputError:
        raise RefusedError(422, "does_not_fit", "conditions: only the format fhir has Conditions.") from None
    try:
        files = list(chosen.files(notes, Origin()))
    except (MpddError, ValueError):  # what they say may quote what was sent
        raise RefusedError(422, "does_not_fit", f"notes: the format {body.to} cannot hold these notes.") from None
    if chosen.suffix:
        return _download(files[0][1], f"notes{chosen.suffix}", "application/octet-stream")
    return _download(_zipped(files), f"notes-{body.to}.zip", "application/zip")


def _annotated(number: int, note: AnsweredNote) -> AnnotatedNote:
    try:
        return checked(AnnotatedNote(note.id, note.text, tuple(map(answer_of, note.answers))))
    except InputError:
        message = f"notes.{number}.answers: not answers of /v1/annotate, or their offsets do not give their words in the text."
        raise RefusedError(422, "does_not_fit", message) from None


def _zipped(files: Sequence[File]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def _download(content: bytes, name: str, media_type: str) -> Response:
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
