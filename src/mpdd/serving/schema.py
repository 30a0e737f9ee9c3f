"""What clients send and get on our own routes. Unknown keys are refused; no tensor and no path can be sent."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from importlib import resources
from typing import Annotated, Any

from fastapi import Request as HttpRequest
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_Line = Annotated[str, StringConstraints(max_length=10_000)]


class Body(BaseModel):
    """What all request bodies share."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Annotate(Body):
    """A note and the tasks to answer about it, each once. `fields` are further inputs by name (Question, Hypothesis), `choices`
    options."""

    text: Text
    tasks: Annotated[list[Name], Field(min_length=1, max_length=100, json_schema_extra={"uniqueItems": True})]
    fields: Annotated[dict[Name, _Line], Field(max_length=20)] = {}
    choices: Annotated[list[_Line], Field(max_length=50)] = []


class Annotations(BaseModel):
    """One result for each task, in the order asked for; offsets are Unicode code points of the text as it was sent."""

    id: str
    results: list[dict[str, Any]]


class AnsweredNote(Body):
    """A note with its answers, as `Annotations.results` has them, perhaps corrected since."""

    id: Name = "note"
    text: Text
    answers: Annotated[list[dict[str, Any]], Field(max_length=100)]


class Convert(Body):
    """Notes to write in the format `to`, one that `mpdd convert --list` names. In FHIR, entities with a label out of
    `conditions` are Conditions, too."""

    to: Name
    conditions: Annotated[list[Name], Field(max_length=100)] = []
    notes: Annotated[list[AnsweredNote], Field(min_length=1, max_length=100)]


class Task(BaseModel):
    """A task that the caller may use."""

    name: str
    type: str
    form: str = Field(description="of the answers: choice, extractive or free (qa), single or multiple (classification)")
    instruction: str
    labels: list[str]
    fields: list[str]
    takes_choices: bool
    prompt: str = Field(description="digest of the prompt file")


class Tasks(BaseModel):
    """All tasks that the caller may use, and the formats that `POST /v1/convert` writes here."""

    tasks: list[Task]
    formats: list[str]


class Message(BaseModel):
    """What went wrong, in one sentence without anything that was sent."""

    type: str
    message: str


class Error(BaseModel):
    """The body of every answer that is an error."""

    error: Message


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (400, 401, 404, 408, 413, 422, 429, 503)
}  # fmt: skip


async def until_gone(request: HttpRequest) -> None:
    """Return when the client of a request, whose body was read, has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def as_json(values: object) -> Response:
    """A response with these values; to be called in a thread, as they may be long."""
    content = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(content, media_type="application/json")


def new_id() -> str:
    """An id that nobody has used."""
    return secrets.token_hex(12)


HTML = resources.files(__package__).joinpath("web/index.html").read_text(encoding="utf-8")


def _hashes(tag: str) -> str:
    """The sha256 of each inline part of this kind, as a content security policy wants it."""
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in parts)


POLICY = (
    f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
