"""What the gateway's routes work with: the tasks, the engine's batches, who may ask, how much, and what is written down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from mpdd.annotate.notes import Note, fewest_requests, requests_for, takes_choices
from mpdd.errors import InputError, MpddError
from mpdd.inference.engines import Engine, EngineDownError
from mpdd.inference.predict import Prediction, Request
from mpdd.serving.access import Caller, Tokens
from mpdd.serving.audit import AuditLog
from mpdd.serving.batcher import Batcher, EngineError, Pace, StoppedError
from mpdd.serving.bodies import GoneError, RefusedError, shutting_down
from mpdd.serving.folder import Served, Tasks
from mpdd.serving.limits import Admission, Full, Limits, Place, RateLimit
from mpdd.serving.metrics import Metrics

_TURN = 0.4  # seconds that a batch should take, so that nobody waits long for a turn
_SHOWN = 1.0  # seconds for which an answer of `/health/ready` is kept
_TOKEN = 4  # characters of a token, about


@dataclass
class Account:
    """What the audit log will say of a request; routes fill it in."""

    caller: str = ""
    tasks: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    characters: int = 0


@dataclass(frozen=True)
class Asked:
    """What is asked of one task about one note, and, once answered, the predictions."""

    note: Note
    served: Served
    requests: Sequence[Request]
    predictions: Sequence[Prediction] = ()


@dataclass
class Service:
    """Everything behind the routes. `abstain_below` marks answers that the engine is less sure of."""

    engine: Engine
    folder: Tasks
    tokens: Tokens
    audit: AuditLog | None = None
    limits: Limits = field(default_factory=Limits)
    abstain_below: float = 0.0
    rows: int = 64  # a batch

    def __post_init__(self) -> None:
        self.batcher = Batcher(
            self.engine.predict, self.rows, lambda rows: self.metrics.batch.observe(rows), self.engine.parallel,
            pace=Pace(_TURN if self.engine.parallel == 1 else 0), cost=self._cost,
        )  # fmt: skip
        self.metrics = Metrics(lambda: self.batcher.waiting)
        self.rate = RateLimit(self.limits.per_minute, self.limits.burst)
        per_minute = self.limits.strangers_per_minute
        self.strangers = RateLimit(per_minute, max(1, int(per_minute)))
        self.admission = Admission(self.limits)
        self._readiness: tuple[float, RefusedError | None] = (float("-inf"), RefusedError(503, "not_ready", "Starting.", 1.0))

    def caller(self, header: str | None, address: str, account: Account) -> Caller:
        """Who asks, by the request's Authorization header; `address` is where from.

        Raises `RefusedError` 401, or 429 for too many requests of this token, or of that address without one.
        """
        kind, _, token = (header or "").partition(" ")
        caller = self.tokens.caller(token.strip() if kind.lower() == "bearer" else None)
        if caller is None:
            if wait := self.strangers.wait_for(address):
                message = "Too many requests without a known token from this address; wait and try again."
                raise RefusedError(429, "rate_limited", message, wait)
            raise RefusedError(401, "unauthorized", "This needs an access token: Authorization: Bearer TOKEN.")
        account.caller = caller.name
        if wait := self.rate.wait_for(caller.name):
            raise RefusedError(429, "rate_limited", "Too many requests from this token; wait and try again.", wait)
        return caller

    async def ready(self) -> None:
        """Raise `RefusedError` 503 unless there is a task, the engine answers, and the gateway is not shutting down."""
        if self.admission.draining:
            raise shutting_down()
        when, problem = self._readiness
        if time.monotonic() - when > _SHOWN:
            self._readiness = (time.monotonic(), problem)  # others meanwhile get the last answer
            problem = await run_in_threadpool(self._problem)
            self._readiness = (time.monotonic(), problem)
        if problem is not None:
            raise problem

    def _problem(self) -> RefusedError | None:
        if not self.folder.look().tasks:
            return RefusedError(503, "not_ready", "No task is served yet.", 5.0)
        if not self.engine.ready():
            return RefusedError(503, "engine_down", "The engine is down or starting.", 5.0)
        return None

    def tasks_for(self, caller: Caller) -> list[Served]:
        """The tasks that the caller may use, by name."""
        return [served for name, served in sorted(self.folder.look().tasks.items()) if caller.may_use(name)]

    def chosen(self, caller: Caller, names: Sequence[str], key: str = "tasks") -> list[Served]:
        """The tasks asked for under the request's `key`.

        Raises `RefusedError` 404 for one that is not there, or not for this caller (the same answer), and 422 where one
        is named twice.
        """
        tasks = self.folder.look().tasks
        chosen = [tasks.get(name) if caller.may_use(name) else None for name in names]
        if missing := [str(number) for number, served in enumerate(chosen, start=1) if served is None]:
            which = f"Number {', '.join(missing)} of {key}" if len(chosen) > 1 else f"The task asked for in {key}"
            message = f"{which} is not served to this token; GET /v1/tasks lists those that are."
            raise RefusedError(404, "no_such_task", message)
        if len(set(names)) < len(names):
            raise RefusedError(422, "repeated", f"{key}: a task is named more than once; name each once.")
        return [served for served in chosen if served is not None]

    async def asked(
        self, notes: Sequence[Note], tasks: Sequence[Served], account: Account, place: Place,
        most_tokens: int | None = None, key: str = "text",
    ) -> list[Asked]:  # fmt: skip
        """What to ask of each task about each note, note by note. Raises `RefusedError` or `Full` where that cannot be.

        What would be refused for its size is so before its texts are written out, which is most of the work.
        """
        account.tasks = tuple(served.card.name for served in tasks)
        account.prompts = tuple(served.digest for served in tasks)
        account.characters = sum(len(note.text) for note in notes)
        fewest = await run_in_threadpool(self._fewest_rows, notes, tasks, key)
        self._require_rows(fewest, key)
        place.take(fewest)
        asked = await run_in_threadpool(
            lambda: [Asked(note, served, self._requests(note, served, most_tokens)) for note in notes for served in tasks]
        )
        rows = sum(len(part.requests) for part in asked)
        self._require_rows(rows, key)
        place.take(rows - fewest)
        return asked

    def _fewest_rows(self, notes: Sequence[Note], tasks: Sequence[Served], key: str) -> int:
        for note in notes:
            self._require_fit(note, key)
        return sum(fewest_requests(note, served.card) for note in notes for served in tasks)

    def _require_rows(self, rows: int, key: str) -> None:
        if rows > self.limits.rows:
            raise RefusedError(
                413, "too_many_rows",
                f"{key}: the text comes to at least {rows:,} parts to answer with the tasks asked for, and a request may have "
                f"{self.limits.rows:,}; send fewer tasks at a time, or less text.",
            )  # fmt: skip

    async def answers(self, asked: Sequence[Asked], caller: Caller, gone: Awaitable[object]) -> list[Asked]:
        """Have everything answered. Raises `RefusedError` where that cannot be, and `GoneError` once `gone` is done."""
        requests = [request for question in asked for request in question.requests]
        try:
            predictions = iter(await self._within(requests, caller, gone))
        except StoppedError:
            raise shutting_down() from None
        except TimeoutError:
            message = f"The server is busy: no answer within {self.limits.seconds:g} seconds; try again."
            raise RefusedError(503, "timeout", message, self._wait()) from None
        except EngineDownError:
            raise RefusedError(503, "engine_down", "The engine is down or starting; try again.", 5.0) from None
        except MpddError as error:  # says nothing of the text
            raise RefusedError(422, "does_not_fit", str(error)) from None
        except EngineError:
            raise RefusedError(503, "engine_failed", "The engine failed on this request; try again.", 1.0) from None
        for question in asked:
            self.metrics.answers.labels(question.served.card.name).inc()
        return [replace(question, predictions=[next(predictions) for _ in question.requests]) for question in asked]

    async def _within(self, requests: Sequence[Request], caller: Caller, gone: Awaitable[object]) -> list[Prediction]:
        """The predictions, unless time runs out or the client goes: then what waits is taken back."""
        job = asyncio.wrap_future(self.batcher.submit(requests, caller.name))
        leaves = asyncio.ensure_future(gone)
        both: set[asyncio.Future[Any]] = {job, leaves}
        try:
            await asyncio.wait(both, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if job.done():
                return job.result()
            raise GoneError if leaves.done() else TimeoutError
        finally:
            job.cancel()
            leaves.cancel()

    def refusal(self, full: Full) -> RefusedError:
        """What is said where there is no room."""
        if self.admission.draining:
            return shutting_down()
        if full.caller:
            message = "This token has as much under way as it may; wait for answers before sending more."
            return RefusedError(429, "too_much_at_once", message, self._wait())
        return RefusedError(503, "busy", "The server is full; wait and try again.", self._wait())

    def begin_stop(self) -> None:
        """Take no new requests."""
        self.admission.drain()

    def _wait(self) -> float:
        """Seconds until there is likely room again."""
        return min(60.0, max(1.0, self.batcher.seconds))

    def _require_fit(self, note: Note, key: str) -> None:
        if len(note.text) > self.limits.characters:
            raise RefusedError(413, "too_long", f"{key}: longer than {self.limits.characters:,} characters.")
        if not note.text.strip():
            raise RefusedError(422, "empty", f"{key}: the text is empty.")
        if not note.is_unicode:
            raise RefusedError(422, "not_unicode", f"{key}: half a surrogate pair; send valid Unicode.")

    def _requests(self, note: Note, served: Served, most_tokens: int | None) -> list[Request]:
        card = served.card
        missing = [f"fields.{name}" for name in card.fields if not note.fields.get(name)]
        missing += ["choices"] * (takes_choices(card) and not note.choices)
        if missing:
            message = f"The task {card.name} asks about more than the text; fill in {', '.join(missing)}."
            raise RefusedError(422, "missing_input", message)
        if most_tokens is not None:
            card = replace(card, max_answer_tokens=min(most_tokens, card.max_answer_tokens))
        try:
            return requests_for(note, card, served.rows, self.engine.vocabulary, served.template, served.priors, served.digest)
        except InputError as error:
            raise RefusedError(422, "missing_input", str(error)) from None

    def _cost(self, request: Request) -> float:
        """About how much work a request is; 1 stands for a window of 400 characters."""
        example = request.example
        length = len(example.text) + sum(len(value) for _, value in example.fields)
        options = sum(map(len, example.choices)) if takes_choices(request.card) else 0
        read = min(length, _TOKEN * self.engine.vocabulary.context) + options
        return 0.5 + read / 800 + length / 20_000
