"""The routes for OpenAI clients: a task is the model, a note the prompt or the last message, the raw output the answer."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import Depends, FastAPI, Response
from fastapi import Request as HttpRequest
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from mpdd.annotate.notes import Note
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.inference.predict import Prediction
from mpdd.serving.access import Caller
from mpdd.serving.bodies import RefusedError, described, read_body
from mpdd.serving.guard import account_of
from mpdd.serving.openai_schema import Chat, Completion, OpenAi
from mpdd.serving.schema import ERRORS, as_json, new_id, until_gone
from mpdd.serving.service import Asked, Service

_PIECE = re.compile(r"\S{1,16}\s*|\s+")  # of a stream: a word with the space behind it, or a part of a long one


@dataclass(frozen=True)
class _Output:
    """The answer to one text: "length" where the most tokens cut it, else "stop"."""

    text: str
    reason: Literal["stop", "length"]
    tokens: int


@dataclass(frozen=True)
class _Form:
    """How the two kinds of completion write an answer: the names of the objects, a whole choice, a piece of one."""

    whole_name: str
    piece_name: str
    whole: Callable[[str], dict[str, Any]]
    piece: Callable[[str], dict[str, Any]]


_TEXT = _Form("text_completion", "text_completion", lambda text: {"text": text}, lambda text: {"text": text})
_CHAT = _Form(
    "chat.completion", "chat.completion.chunk",
    lambda text: {"message": {"role": "assistant", "content": text, "refusal": None}},
    lambda text: {"delta": {"content": text}},
)  # fmt: skip


def add_openai_routes(app: FastAPI, service: Service, caller: Callable[..., Any]) -> None:
    """Add the routes; `caller` is the dependency that looks at the token."""
    authorized = Depends(caller)

    @app.get("/v1/models", responses=ERRORS)
    async def models(who: Caller = authorized) -> dict[str, Any]:
        """The tasks that the token may use, as OpenAI lists models."""
        tasks = await run_in_threadpool(service.tasks_for, who)
        return {"object": "list", "data": [_model(served.card.name) for served in tasks]}

    @app.get("/v1/models/{name:path}", responses=ERRORS)
    async def model(name: str, who: Caller = authorized) -> dict[str, Any]:
        """One of them."""
        (served,) = await run_in_threadpool(service.chosen, who, [name], "the path")
        return _model(served.card.name)

    @app.post("/v1/completions", responses=ERRORS, openapi_extra=described(Completion))
    async def completions(request: HttpRequest, who: Caller = authorized) -> Response:
        """OpenAI's legacy completions: the raw output of one task about the prompt, or about each of several."""
        async with service.admission.admitted(who.name) as place:
            body = await read_body(request, Completion)
            tasks = await run_in_threadpool(service.chosen, who, [body.model], "model")
            notes = [Note(new_id(), text, {}) for text in body.texts]
            asked = await service.asked(notes, tasks, account_of(request.scope), place, body.max_tokens, "prompt")
            answered = await service.answers(asked, who, until_gone(request))
        return await run_in_threadpool(_response, service.engine.vocabulary, _TEXT, body, answered, body.max_tokens)

    @app.post("/v1/chat/completions", responses=ERRORS, openapi_extra=described(Chat))
    async def chat(request: HttpRequest, who: Caller = authorized) -> Response:
        """OpenAI's chat completions: the last message is the note; the task's own instruction is used, no other."""
        async with service.admission.admitted(who.name) as place:
            body = await read_body(request, Chat)
            last, most = body.messages[-1], body.most_tokens
            if last.role != "user":
                raise RefusedError(422, "invalid", "messages: the last one must be the user's; it is the note.")
            tasks = await run_in_threadpool(service.chosen, who, [body.model], "model")
            note = Note(new_id(), last.text, {})
            asked = await service.asked([note], tasks, account_of(request.scope), place, most, "messages")
            answered = await service.answers(asked, who, until_gone(request))
        return await run_in_threadpool(_response, service.engine.vocabulary, _CHAT, body, answered, most)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "mpdd"}


def _response(vocabulary: Vocabulary, form: _Form, body: OpenAi, answered: Sequence[Asked], most: int | None) -> Response:
    """All answers, whole or as a stream."""
    outputs = [_output(vocabulary, answer.predictions, most, body.stops) for answer in answered]
    read_tokens = sum(len(_ids(vocabulary, answer.note.text)) for answer in answered)
    written = sum(output.tokens for output in outputs)
    usage = {"prompt_tokens": read_tokens, "completion_tokens": written, "total_tokens": read_tokens + written}
    about = {"id": new_id(), "created": int(time.time()), "model": body.model}
    if body.stream:
        wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        return StreamingResponse(_events(form, about, outputs, usage if wants_usage else None), media_type="text/event-stream")
    choices = [
        {"index": index, **form.whole(output.text), "logprobs": None, "finish_reason": output.reason}
        for index, output in enumerate(outputs)
    ]
    return as_json({**about, "object": form.whole_name, "choices": choices, "usage": usage})


def _output(vocabulary: Vocabulary, predictions: Sequence[Prediction], most: int | None, stops: Sequence[str]) -> _Output:
    """The outputs of a note's parts, a line each, cut at the most tokens in all and before the first of the stop words."""
    lines: list[str] = []
    tokens, is_cut = 0, False
    for prediction in predictions:
        ids = [token for token, _ in prediction.tokens] or _ids(vocabulary, prediction.output)
        is_cut = is_cut or bool(prediction.tokens) and ids[-1] != vocabulary.end
        ids = [token for token in ids if token != vocabulary.end]
        left = len(ids) if most is None else most - tokens
        is_cut = is_cut or len(ids) > left
        if left > 0 or not ids:
            lines.append(prediction.output if len(ids) <= left else _decoded(vocabulary, ids[:left]))
            tokens += min(len(ids), left)
    text = "\n".join(lines)
    ends = [text.find(stop) for stop in stops if stop in text]
    if ends:
        text, is_cut = text[: min(ends)], False
        tokens = min(tokens, len(_ids(vocabulary, text)))
    return _Output(text, "length" if is_cut else "stop", tokens)


def _ids(vocabulary: Vocabulary, text: str) -> list[int]:
    ids: list[int] = vocabulary.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _decoded(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    return str(vocabulary.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


async def _events(
    form: _Form, about: dict[str, Any], outputs: Sequence[_Output], usage: dict[str, int] | None
) -> AsyncIterator[bytes]:
    """Server-sent events: each word of each answer, why it ends, the usage where it was asked for, and the end."""
    about = {**about, "object": form.piece_name}
    for chunk in _chunks(form, outputs):
        yield _event({**about, "choices": [chunk], **({} if usage is None else {"usage": None})})
    if usage is not None:
        yield _event({**about, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _chunks(form: _Form, outputs: Sequence[_Output]) -> Iterator[dict[str, Any]]:
    for index, output in enumerate(outputs):
        same: dict[str, Any] = {"index": index, "logprobs": None, "finish_reason": None}
        if form is _CHAT:
            yield {**same, "delta": {"role": "assistant", "content": ""}}
        for piece in _PIECE.findall(output.text):
            yield {**same, **form.piece(piece)}
        yield {**same, **({"delta": {}} if form is _CHAT else {"text": ""}), "finish_reason": output.reason}


def _event(values: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(values)}\n\n".encode()
