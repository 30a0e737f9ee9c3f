"""The HTTP gateway: routes and their answers. Everything but the page and the health checks needs a token."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from mpdd import __version__
from mpdd.notes import Note, result_of, takes_choices
from mpdd.serving import page
from mpdd.serving.access import Caller
from mpdd.serving.batcher import StoppedError
from mpdd.serving.guard import Guard, account_of
from mpdd.serving.schema import Annotate, Annotations, Chat, Completion, Error, Task, Tasks
from mpdd.serving.service import RefusedError, Service

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (400, 401, 404, 413, 422, 429, 503, 504)
}  # fmt: skip


def create_app(service: Service) -> FastAPI:
    """The gateway over `service`; when it shuts down, what was accepted is finished first."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        service.slots.drain()
        await service.slots.drained()
        await run_in_threadpool(service.batcher.stop)

    app = FastAPI(title="mpdd", version=__version__, lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, service=service)
    _add_errors(app)
    _add_open_routes(app, service)
    _add_routes(app, service)
    return app


def _add_open_routes(app: FastAPI, service: Service) -> None:
    """The page and the health checks."""

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def home() -> HTMLResponse:
        return HTMLResponse(page.HTML, headers={"Content-Security-Policy": page.POLICY})

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/health/ready", responses={503: {"model": Error}})
    async def ready() -> dict[str, str]:
        """There is a task to serve, its engine answers, and the gateway is not shutting down."""
        if service.slots.draining or not (await run_in_threadpool(service.folder.look)).tasks:
            raise RefusedError(503, "not_ready", "No task is served yet, or the server is shutting down.", 5.0)
        if not await run_in_threadpool(service.engine.ready):
            raise RefusedError(503, "engine_down", "The engine is down or starting.", 5.0)
        return {"status": "ready"}


def _add_routes(app: FastAPI, service: Service) -> None:
    async def caller(request: HttpRequest) -> Caller:
        return service.caller(request.headers.get("authorization"), account_of(request.scope))

    known = Depends(caller)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(who: Caller = known) -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/metrics", responses=_ERRORS)
    async def metrics(who: Caller = known) -> Response:
        """Prometheus metrics."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/tasks", responses=_ERRORS)
    async def tasks(who: Caller = known) -> Tasks:
        """The tasks that this token may use."""
        found = await run_in_threadpool(service.tasks_for, who)
        return Tasks(
            tasks=[
                Task(
                    name=served.card.name, type=served.card.type, instruction=served.card.instruction,
                    labels=list(served.card.labels), fields=list(served.card.fields), takes_choices=takes_choices(served.card),
                    prompt=served.digest,
                )
                for served in found
            ]
        )  # fmt: skip

    @app.get("/v1/models", responses=_ERRORS)
    async def models(who: Caller = known) -> dict[str, Any]:
        """The same tasks, as OpenAI lists models."""
        found = await run_in_threadpool(service.tasks_for, who)
        return {"object": "list", "data": [{"id": s.card.name, "object": "model", "owned_by": "mpdd"} for s in found]}

    @app.post("/v1/annotate", responses=_ERRORS)
    async def annotate(body: Annotate, request: HttpRequest, who: Caller = known) -> Annotations:
        """Structured answers to any number of tasks about one note, in one mixed batch."""
        chosen = await run_in_threadpool(service.chosen, who, body.tasks)
        note = Note(_new_id(), body.text, body.fields, tuple(body.choices))
        results = []
        for served, (asked, found) in zip(chosen, await service.answers(note, chosen, account_of(request.scope)), strict=True):
            result = {
                key: value for key, value in result_of(note, served.card, asked, found, served.confidence).items() if key != "id"
            }
            confidence = result["confidence"]
            abstained = confidence is not None and confidence < service.abstain_below
            results.append({**result, "type": served.card.type, "abstained": abstained})
        return Annotations(id=note.id, results=results)

    @app.post("/v1/completions", responses=_ERRORS)
    async def completions(body: Completion, request: HttpRequest, who: Caller = known) -> dict[str, Any]:
        """OpenAI's legacy completions: the raw output of one task about the prompt."""
        text, usage = await _written(service, who, body.model, body.prompt, body.max_tokens, request)
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
        return _openai("text_completion", body.model, choice, usage)

    @app.post("/v1/chat/completions", responses=_ERRORS)
    async def chat(body: Chat, request: HttpRequest, who: Caller = known) -> dict[str, Any]:
        """OpenAI's chat completions: the last message is the note; the task's own instruction is used, no other."""
        if body.messages[-1].role != "user":
            raise RefusedError(422, "invalid", "The last message must be the user's: it is the note.")
        most = body.max_completion_tokens or body.max_tokens
        text, usage = await _written(service, who, body.model, body.messages[-1].content, most, request)
        message = {"role": "assistant", "content": text}
        return _openai("chat.completion", body.model, {"index": 0, "message": message, "finish_reason": "stop"}, usage)


async def _written(
    service: Service, who: Caller, task: str, text: str, most_tokens: int | None, request: HttpRequest
) -> tuple[str, dict[str, int]]:
    """One task's raw output (a line for each window of a long note) and the numbers of tokens."""
    chosen = await run_in_threadpool(service.chosen, who, [task])
    ((_, found),) = await service.answers(Note(_new_id(), text, {}), chosen, account_of(request.scope), most_tokens)
    output = "\n".join(prediction.output for prediction in found)
    read, written = (len(service.engine.vocabulary.tokenizer(part, verbose=False)["input_ids"]) for part in (text, output))
    return output, {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _openai(kind: str, model: str, choice: dict[str, Any], usage: dict[str, int]) -> dict[str, Any]:
    return {"id": _new_id(), "object": kind, "created": int(time.time()), "model": model, "choices": [choice], "usage": usage}


def _new_id() -> str:
    return secrets.token_hex(12)


def _add_errors(app: FastAPI) -> None:
    """Every error has one form, and none repeats what was sent."""

    @app.exception_handler(RefusedError)
    async def refused(_request: HttpRequest, error: RefusedError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(StoppedError)
    async def stopped(_request: HttpRequest, _error: StoppedError) -> JSONResponse:
        return error_response(RefusedError(503, "shutting_down", "The server is shutting down.", 5.0))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: HttpRequest, error: RequestValidationError) -> JSONResponse:
        kinds = sorted({f"{_known(one['loc'])}: {one['type'].replace('_', ' ')}" for one in error.errors()})
        return error_response(RefusedError(422, "invalid", f"The request does not fit: {'; '.join(kinds[:8])}."))

    @app.exception_handler(HTTPException)
    async def plain(_request: HttpRequest, error: HTTPException) -> JSONResponse:
        said = {404: "There is no such route.", 405: "This route does not take this method."}
        message = said.get(error.status_code, "The request cannot be read.")
        return error_response(RefusedError(error.status_code, "not_possible", message))


_FIELDS = {
    "body", "text", "tasks", "fields", "choices", "model", "prompt", "messages", "role", "content", "max_tokens",
    "max_completion_tokens", "temperature", "n", "stream", "user",
}  # fmt: skip


def _known(place: tuple[Any, ...]) -> str:
    """Where in the request a problem is, by our own names only."""
    return ".".join(str(part) if part in _FIELDS or isinstance(part, int) else "?" for part in place)


def error_response(error: RefusedError) -> JSONResponse:
    """The one form of errors."""
    headers = {"Retry-After": str(max(1, ceil(error.retry_after)))} if error.retry_after is not None else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": {"type": error.kind, "message": error.message}}, error.status, headers)
