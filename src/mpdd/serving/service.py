"""What the gateway's routes work with: the tasks, the engine's batches, who may ask, how much, and what is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mpdd.engines import Engine, EngineDownError
from mpdd.errors import InputError, MpddError
from mpdd.notes import Note, requests_for
from mpdd.predict import Prediction, Request
from mpdd.serving.access import Caller, Tokens
from mpdd.serving.audit import AuditLog
from mpdd.serving.batcher import Batcher, EngineError
from mpdd.serving.folder import PromptFolder, Served
from mpdd.serving.limits import Full, RateLimit, Slots
from mpdd.serving.metrics import Metrics


@dataclass(frozen=True)
class Limits:
    """How much is taken: characters of a note, bytes of a request, requests a minute and caller, requests at a time, seconds."""

    characters: int = 200_000
    body_bytes: int = 2**22
    per_minute: float = 600.0
    burst: int = 60
    running: int = 64
    waiting: int = 256
    seconds: float = 120.0


class RefusedError(Exception):
    """A request that gets an error: its status, its kind, one sentence without anything that was sent, seconds to wait."""

    def __init__(self, status: int, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(kind)
        self.status, self.kind, self.message, self.retry_after = status, kind, message, retry_after


@dataclass
class Account:
    """What the audit log will say of a request; routes fill it in."""

    caller: str = ""
    tasks: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    characters: int = 0


@dataclass
class Service:
    """Everything behind the routes. `abstain_below` marks answers that the engine is less sure of."""

    engine: Engine
    folder: PromptFolder
    tokens: Tokens
    audit: AuditLog | None = None
    limits: Limits = field(default_factory=Limits)
    abstain_below: float = 0.0
    rows: int = 64  # a batch

    def __post_init__(self) -> None:
        self.batcher = Batcher(
            self.engine.predict, self.rows, lambda rows: self.metrics.batch.observe(rows), self.engine.parallel
        )
        self.metrics = Metrics(lambda: self.batcher.waiting, lambda: len(self.folder.look().tasks))
        self.rate = RateLimit(self.limits.per_minute, self.limits.burst)
        self.slots = Slots(self.limits.running, self.limits.waiting)

    def caller(self, header: str | None, account: Account) -> Caller:
        """Who asks, by the request's Authorization header. Raises `RefusedError` 401, or 429 for too many requests."""
        kind, _, token = (header or "").partition(" ")
        found = self.tokens.caller(token.strip() if kind.lower() == "bearer" else None)
        if found is None:
            raise RefusedError(401, "unauthorized", "This needs an access token: Authorization: Bearer TOKEN.")
        account.caller = found.name
        if wait := self.rate.wait_for(found.name):
            raise RefusedError(429, "rate_limited", "Too many requests from this token; wait and try again.", wait)
        return found

    def tasks_for(self, caller: Caller) -> list[Served]:
        """The tasks that the caller may use, by name."""
        return [served for name, served in sorted(self.folder.look().tasks.items()) if caller.may_use(name)]

    def chosen(self, caller: Caller, names: Sequence[str]) -> list[Served]:
        """The tasks asked for. Raises `RefusedError` 404 for one that is not there, or not for this caller (the same answer)."""
        tasks = self.folder.look().tasks
        found = [tasks.get(name) if caller.may_use(name) else None for name in names]
        if missing := [str(number) for number, served in enumerate(found, start=1) if served is None]:
            which = f"Number {', '.join(missing)} of the tasks asked for is" if len(found) > 1 else "The task asked for is"
            raise RefusedError(404, "no_such_task", f"{which} not served to this token; GET /v1/tasks lists those that are.")
        return [served for served in found if served is not None]

    async def answers(
        self, note: Note, tasks: Sequence[Served], account: Account, most_tokens: int | None = None
    ) -> list[tuple[list[Request], list[Prediction]]]:
        """Ask all tasks about a note; for each, what was asked and predicted. Raises `RefusedError` where that cannot be."""
        account.tasks = tuple(served.card.name for served in tasks)
        account.prompts = tuple(served.digest for served in tasks)
        account.characters = len(note.text)
        self._require_fit(note)
        asked = [self._requests(note, served, most_tokens) for served in tasks]
        try:
            async with self.slots.admitted():
                job = self.batcher.submit([request for some in asked for request in some])
                answered = await asyncio.wait_for(asyncio.wrap_future(job), self.limits.seconds)
        except Full as full:
            raise RefusedError(503, "busy", "The server is full; wait and try again.", full.retry_after) from None
        except TimeoutError:
            raise RefusedError(504, "timeout", f"No answer within {self.limits.seconds:g} seconds.") from None
        except EngineDownError:
            raise RefusedError(503, "engine_down", "The engine is down or starting; try again.", 5.0) from None
        except MpddError as error:  # says nothing of the text
            raise RefusedError(422, "does_not_fit", str(error)) from None
        except EngineError:
            raise RefusedError(503, "engine_failed", "The engine failed on this request; try again.", 1.0) from None
        for served in tasks:
            self.metrics.answers.labels(served.card.name).inc()
        found = iter(answered)
        return [(some, [next(found) for _ in some]) for some in asked]

    def _require_fit(self, note: Note) -> None:
        if len(note.text) > self.limits.characters:
            raise RefusedError(413, "too_long", f"The text is longer than {self.limits.characters:,} characters.")
        if not note.text.strip():
            raise RefusedError(422, "empty", "The text is empty.")
        if not note.is_unicode:
            raise RefusedError(422, "not_unicode", "The request holds half a surrogate pair; send valid Unicode.")

    @staticmethod
    def _requests(note: Note, served: Served, most_tokens: int | None) -> list[Request]:
        card = served.card
        if most_tokens is not None:
            card = replace(card, max_answer_tokens=min(most_tokens, card.max_answer_tokens))
        try:
            return requests_for(note, card, served.rows, served.template)
        except InputError as error:
            raise RefusedError(422, "missing_input", str(error)) from None
