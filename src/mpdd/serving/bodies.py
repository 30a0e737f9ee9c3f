"""Reading request bodies: after the token was looked at, in a thread, against a schema, with the field named in a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import ceil
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from mpdd.serving.openai_schema import Chat, ChatMessage, Completion, StreamOptions, TextFormat, TextPart
from mpdd.serving.schema import Annotate, AnsweredNote, Convert

Model = TypeVar("Model", bound=BaseModel)
BODIES: tuple[type[BaseModel], ...] = (Annotate, Convert, Completion, Chat)
_MODELS: tuple[type[BaseModel], ...] = (*BODIES, AnsweredNote, ChatMessage, TextPart, TextFormat, StreamOptions)
_FIELDS = {name for model in _MODELS for name in model.model_fields}
_HINTS = {
    "frequency_penalty": "decoding is greedy",
    "presence_penalty": "decoding is greedy",
    "logit_bias": "decoding is greedy",
    "n": "one answer for each text",
    "best_of": "one answer for each text",
    "logprobs": "POST /v1/annotate gives confidences",
    "response_format": "answers are text; POST /v1/annotate gives structured ones",
    "prompt": "text, or a list of texts; no token ids",
    "store": "nothing is kept",
    "tools": "tasks call no tools",
}


async def read_body(request: HttpRequest, model: type[Model]) -> Model:
    """The request's body. Raises `RefusedError` 422, which names the fields that do not fit and nothing that was sent."""
    content = await request.body()
    return await run_in_threadpool(parse, content, model)


def parse(content: bytes, model: type[Model]) -> Model:
    """See `read_body`; blocking."""
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        problems = list(dict.fromkeys(_problems(error)))
        raise RefusedError(422, "invalid", f"The request does not fit: {'; '.join(problems[:8])}.") from None


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        if problem["type"] == "json_invalid":
            yield "the body is not valid JSON"
            continue
        names = [str(part) for part in problem["loc"] if part in _FIELDS or isinstance(part, int)]
        if problem["type"] == "extra_forbidden":
            is_named = problem["loc"][-1] in _FIELDS
            yield f"{'.'.join(names if is_named else [*names, 'a field'])} is not known on this route"
            continue
        words = problem["msg"].removeprefix("Input ").removeprefix("String ").removeprefix("List ")
        hint = next((f" ({_HINTS[name]})" for name in names if name in _HINTS), "")
        yield f"{'.'.join(names) or 'the body'}: {words[0].lower()}{words[1:]}{hint}"


def described(model: type[BaseModel]) -> dict[str, Any]:
    """What the OpenAPI document says of a route that takes this body."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    return {"requestBody": {"required": True, "content": content}}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the schemas of the bodies, which the routes read themselves."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in BODIES:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return document


class RefusedError(Exception):
    """A request that gets an error: its status, its kind, one sentence without anything that was sent, seconds to wait."""

    def __init__(self, status: int, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(kind)
        self.status, self.kind, self.message, self.retry_after = status, kind, message, retry_after
        if status == 503 and retry_after is None:
            self.retry_after = 5.0


class GoneError(Exception):
    """The client closed the connection before its answer."""


def body_of(error: RefusedError) -> bytes:
    """The one form of errors, as JSON."""
    return json.dumps({"error": {"type": error.kind, "message": error.message}}).encode()


def headers_of(error: RefusedError) -> dict[str, str]:
    """When to come back, and how to authenticate."""
    headers = {"Retry-After": str(max(1, ceil(error.retry_after)))} if error.retry_after is not None else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def error_response(error: RefusedError, headers: dict[str, str] | None = None) -> JSONResponse:
    """The error as a response."""
    content = json.loads(body_of(error))
    return JSONResponse(content, error.status, {**headers_of(error), **(headers or {})})


def shutting_down() -> RefusedError:
    """What is said to requests that come, or are not finished, when the server stops."""
    return RefusedError(503, "shutting_down", "The server is shutting down; try again.", 5.0)
