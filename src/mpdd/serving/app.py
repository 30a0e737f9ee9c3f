"""The HTTP gateway: routes and their answers. Everything but the page and the health checks needs a token."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from mpdd import __version__
from mpdd.annotate import writers
from mpdd.annotate.notes import Note, result_of, takes_choices
from mpdd.serving import schema
from mpdd.serving.access import Caller
from mpdd.serving.bodies import RefusedError, describe, described, error_response, read_body
from mpdd.serving.converting import add_convert_route
from mpdd.serving.guard import Guard, account_of
from mpdd.serving.limits import Full
from mpdd.serving.openai import add_openai_routes
from mpdd.serving.schema import ERRORS, Annotate, Annotations, Error, Task, Tasks, as_json, new_id, until_gone
from mpdd.serving.service import Asked, Service

_STOP = 3.0  # seconds for what the engine is at when the server stops


def create_app(service: Service) -> FastAPI:
    """The gateway over `service`; when it shuts down, nobody is admitted, and what is still waiting is told so."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        service.begin_stop()
        await run_in_threadpool(service.batcher.stop, _STOP)
        if service.audit is not None:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            await run_in_threadpool(service.audit.close, now)

    app = FastAPI(
        title="mpdd", version=__version__, lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.add_middleware(Guard, service=service, routes=app.routes)
    _add_errors(app, service)
    _add_open_routes(app, service)
    _add_routes(app, service)
    return app


def _add_open_routes(app: FastAPI, service: Service) -> None:
    """The page and the health checks."""

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def home() -> HTMLResponse:
        return HTMLResponse(schema.HTML, headers={"Content-Security-Policy": schema.POLICY})

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/health/ready", responses={503: {"model": Error}})
    async def ready() -> dict[str, str]:
        """There is a task to serve, its engine answers, and the gateway is not shutting down."""
        await service.ready()
        return {"status": "ready"}


def _add_routes(app: FastAPI, service: Service) -> None:
    async def caller(request: HttpRequest) -> Caller:
        address = request.client.host if request.client else ""
        return service.caller(request.headers.get("authorization"), address, account_of(request.scope))

    known, formats = Depends(caller), list(writers.available())

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(who: Caller = known) -> Response:
        return await run_in_threadpool(lambda: as_json(describe(app)))

    @app.get("/metrics", responses=ERRORS)
    async def metrics(who: Caller = known) -> Response:
        """Prometheus metrics; of tasks, those that the token may use."""

        def text() -> bytes:
            return service.metrics.text([served.card.name for served in service.tasks_for(who)], who.may_use)

        return Response(await run_in_threadpool(text), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/tasks", responses=ERRORS)
    async def tasks(who: Caller = known) -> Tasks:
        """The tasks that this token may use, and the formats that are written here."""
        usable = await run_in_threadpool(service.tasks_for, who)
        return Tasks(
            tasks=[
                Task(
                    name=served.card.name, type=served.card.type, form=served.card.form, instruction=served.card.instruction,
                    labels=list(served.card.labels), fields=list(served.card.fields), takes_choices=takes_choices(served.card),
                    prompt=served.digest,
                )
                for served in usable
            ],
            formats=formats,
        )  # fmt: skip

    @app.post("/v1/annotate", responses={200: {"model": Annotations}, **ERRORS}, openapi_extra=described(Annotate))
    async def annotate(request: HttpRequest, who: Caller = known) -> Response:
        """Structured answers to any number of tasks about one note, in one mixed batch."""
        async with service.admission.admitted(who.name) as place:
            body = await read_body(request, Annotate)
            tasks = await run_in_threadpool(service.chosen, who, body.tasks)
            note = Note(new_id(), body.text, body.fields, tuple(body.choices))
            asked = await service.asked([note], tasks, account_of(request.scope), place)
            answered = await service.answers(asked, who, until_gone(request))
        return await run_in_threadpool(_annotations, service, answered)

    add_openai_routes(app, service, caller)
    add_convert_route(app, service, caller)


def _annotations(service: Service, answered: Sequence[Asked]) -> Response:
    results = []
    for one in answered:
        result = result_of(one.note, one.served.card, one.requests, one.predictions, one.served.confidence)
        confidence = result["confidence"]
        abstained = confidence is not None and confidence < service.abstain_below
        own = {key: value for key, value in result.items() if key != "id"}
        results.append({**own, "type": one.served.card.type, "abstained": abstained})
    return as_json({"id": answered[0].note.id, "results": results})


def _add_errors(app: FastAPI, service: Service) -> None:
    """Every error has one form, and none repeats what was sent."""

    @app.exception_handler(RefusedError)
    async def refused(_request: HttpRequest, error: RefusedError) -> Response:
        return error_response(error)

    @app.exception_handler(Full)
    async def full(_request: HttpRequest, error: Full) -> Response:
        return error_response(service.refusal(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: HttpRequest, _error: RequestValidationError) -> Response:
        return error_response(RefusedError(422, "invalid", "The path or the query does not fit this route."))

    @app.exception_handler(HTTPException)
    async def plain(_request: HttpRequest, error: HTTPException) -> Response:
        messages = {404: "There is no such route.", 405: "This route does not take this method."}
        message = messages.get(error.status_code, "The request cannot be read.")
        allow: dict[str, Any] = {k: v for k, v in (error.headers or {}).items() if k.lower() == "allow"}
        return error_response(RefusedError(error.status_code, "not_possible", message), allow)
