"""A vLLM server as engine, asked over its OpenAI-compatible API by loopback: prompts at the input travel as `prompt_embeds`.

Start it with `--enable-prompt-embeds`. What this process holds of the backbone is its tokenizer and embedding matrix.
Of deep prompts the server has the keys and values (`mpdd export --to vllm-kv`): a request brings placeholder ids, and
its answer must say that it was written under the prompt. Options are scored token by token: vLLM gives no likelihoods
of a prompt that comes as embeddings, but it gives that of a token which it is made to write. Every input carries its
prompt's digest as `cache_salt`, so that no cached prefix is shared among prompts.
"""

from __future__ import annotations

import base64
import hashlib
import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import torch
from torch import Tensor

from mpdd.backbone.vocabulary import Vocabulary
from mpdd.errors import InputError, MpddError
from mpdd.inference.engines import EngineDownError
from mpdd.inference.engines.placeholders import placeholder_ids
from mpdd.inference.predict import Asked, Prediction, Request, Written, ask, choose, prediction_of
from mpdd.prompts.store import PromptFile

_UNDER = "mpdd_prompt"  # where the server's answers name the deep prompt, as `export.vllm_connector` has it
_AGAIN = 1.0  # seconds between tries while the engine is down


class Vllm:
    """A vLLM server at `url`, which runs the backbone of `vocabulary`.

    `rows` requests are under way at a time. While the server is down, a row is tried again for `patience` seconds.
    """

    def __init__(
        self, url: str, vocabulary: Vocabulary, *, rows: int = 64, patience: float = 30.0, seconds: float = 600.0
    ) -> None:
        self._vocabulary, self._patience = vocabulary, patience
        limits = httpx.Limits(max_connections=rows, max_keepalive_connections=rows)
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(seconds, connect=5.0), limits=limits, trust_env=False)
        self._pool = ThreadPoolExecutor(rows, thread_name_prefix="vllm")
        self._model = ""
        self._placeholders: dict[str, list[int]] = {}
        self.parallel = 4

    @property
    def vocabulary(self) -> Vocabulary:
        """That of the backbone behind the server."""
        return self._vocabulary

    @property
    def grounded(self) -> bool:
        """Never: the server writes freely."""
        return False

    def ready(self) -> bool:
        """Whether the server says that it is well."""
        try:
            return self._http.get("/health", timeout=2.0).status_code == 200
        except httpx.HTTPError:
            return False

    def check(self) -> None:
        """Find the served model, and raise `InputError` unless it takes embeddings and they mean to it what they mean to us."""
        name = self._served()
        ids = [self._vocabulary.end, *range(40, 48)]
        body = {"model": name, "max_tokens": 1, "temperature": 0.0, "logprobs": 1}
        by_ids = self._http.post("/v1/completions", json={**body, "prompt": ids})
        by_rows = self._http.post("/v1/completions", json={**body, "prompt_embeds": _encoded(self._vocabulary.embed(_long(ids)))})
        if by_ids.status_code != 200:
            raise MpddError(f"The vLLM server answers a test with status {by_ids.status_code}.")
        if by_rows.status_code != 200:
            raise InputError(
                "The vLLM server takes no soft prompts", found=f"status {by_rows.status_code}",
                wanted="a server started with --enable-prompt-embeds",
            )  # fmt: skip
        there, here = (response.json()["choices"][0]["logprobs"]["token_logprobs"][0] for response in (by_ids, by_rows))
        if abs(there - here) > 0.1:
            raise InputError(
                "The vLLM server runs another model than the backbone", found=name, wanted=self._vocabulary.name,
                next_step="Start it on the same model folder.",
            )  # fmt: skip

    def require_prompt(self, prompt: PromptFile) -> None:
        """Raise `InputError` for a deep prompt that the server does not have."""
        header = prompt.header
        if header.width != self._vocabulary.width:
            self._model = self._model or self._served()
            ids = self._stand_in(header.digest, header.length)
            body = {"prompt": [*ids, self._vocabulary.end], "max_tokens": 1}
            self._send(body, header.digest, name=prompt.path.name, patience=0.0)

    def close(self) -> None:
        """Drop the connections."""
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def predict(self, requests: Sequence[Request], *, tick: Callable[[int], object] = lambda _: None) -> list[Prediction]:
        """Answer every request, in order; the server batches them as it likes. Raise `InputError` for a deep prompt that the
        server does not have."""
        self._model = self._model or self._served()

        def answer(request: Request) -> Prediction:
            asked = ask(self._vocabulary, request)
            prediction = prediction_of(request, asked, self._choose(asked) if asked.options else self._write(asked))
            tick(1)
            return prediction

        return list(self._pool.map(answer, requests))

    def _write(self, asked: Asked) -> Written:
        """Write freely. Priors need a request for each of the first tokens, until it is clear whether the answer is "none"."""
        written: list[tuple[int, float]] = []
        alone = 0 if asked.shifts is None else len(asked.shifts.none_tokens)
        for count in (*[1] * min(alone, asked.most - 1), asked.most - min(alone, asked.most - 1)):
            if not written or written[-1][0] != self._vocabulary.end:
                written += self._go_on(asked, [token for token, _ in written], count)
        return Written.of(self._vocabulary.tokenizer, written)

    def _go_on(self, asked: Asked, before: Sequence[int], count: int) -> list[tuple[int, float]]:
        """The next tokens behind `before`, at most so many, under the shift of a logit that holds for all of them."""
        options: dict[str, Any] = {"max_tokens": count, "logprobs": 1, "stop_token_ids": [self._vocabulary.end]}
        if asked.shifts is not None and (shifted := asked.shifts.next(before)):
            options["logit_bias"] = {str(shifted[0]): shifted[1]}
        completion = self._post(asked, before, options)
        return list(zip(completion["token_ids"], completion["logprobs"]["token_logprobs"], strict=True))

    def _choose(self, asked: Asked) -> Written:
        (choice,) = choose(
            [asked], [self._likelihood(asked, way[:at], way[at]) for way in asked.continuations for at in range(len(way))]
        )
        return choice

    def _likelihood(self, asked: Asked, before: Sequence[int], token: int) -> float:
        """The log-likelihood of a token behind the input and `before`."""
        completion = self._post(asked, before, {"max_tokens": 1, "logprobs": 1, "allowed_token_ids": [token], "ignore_eos": True})
        return float(completion["logprobs"]["token_logprobs"][0])

    def _post(self, asked: Asked, before: Sequence[int], options: dict[str, Any]) -> dict[str, Any]:
        """One completion behind a row's prompt, input and `before`. The server's words on an error are dropped."""
        ids, prompt = [*asked.ids, *before], asked.prompt
        if prompt is not None and prompt.shape[1] != self._vocabulary.width:
            given = [*self._stand_in(asked.digest, len(prompt)), *ids]
            return self._send({"prompt": given, "cache_salt": asked.digest, **options}, asked.digest)
        rows = self._vocabulary.embed(_long(ids))
        rows = rows if prompt is None else torch.cat([prompt.to(rows), rows])
        return self._send({"prompt_embeds": _encoded(rows), "cache_salt": _salt(prompt), **options})

    def _stand_in(self, digest: str, length: int) -> list[int]:
        """The placeholder ids of a deep prompt."""
        if digest not in self._placeholders:
            self._placeholders[digest] = placeholder_ids(self._vocabulary, digest, length)
        return self._placeholders[digest]

    def _send(
        self, body: dict[str, Any], digest: str | None = None, *, name: str = "", patience: float | None = None
    ) -> dict[str, Any]:
        """What the server completes, waited for as long as `patience`, in seconds, says. Raise `InputError` unless it was
        completed under the deep prompt of this digest (None: no deep prompt), whose file has this name."""
        body = {"model": self._model, "temperature": 0.0, "return_token_ids": True, **body}
        until = time.monotonic() + (self._patience if patience is None else patience)
        while True:
            try:
                response = self._http.post("/v1/completions", json=body)
            except httpx.HTTPError:
                response = None
            if response is not None and response.status_code == 200:
                answer = response.json()
                if digest is not None and (answer.get("kv_transfer_params") or {}).get(_UNDER) != digest:
                    raise _missing(digest, name)
                completion: dict[str, Any] = answer["choices"][0]
                return completion
            if response is not None and response.status_code < 500:
                raise MpddError(f"The vLLM server refuses a request with status {response.status_code}.")
            if time.monotonic() >= until:
                raise EngineDownError("The vLLM server does not answer.")
            time.sleep(_AGAIN)

    def _served(self) -> str:
        """The name of the model that the server has loaded."""
        try:
            response = self._http.get("/v1/models", timeout=5.0)
            return str(response.raise_for_status().json()["data"][0]["id"])
        except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
            raise EngineDownError(f"There is no vLLM server at {self._http.base_url}: {_what_is_there(error)}.") from None


def _what_is_there(error: Exception) -> str:
    """What was found where a server should list its models."""
    if isinstance(error, httpx.ConnectError):
        return "nothing can be reached there"
    if isinstance(error, httpx.TimeoutException):
        return "nothing answers there within five seconds"
    if isinstance(error, httpx.HTTPStatusError):
        return f"what answers there has no list of models (status {error.response.status_code})"
    return "what answers there has no list of models"


def _missing(digest: str, name: str) -> InputError:
    return InputError(
        f"The vLLM server does not have the deep prompt {name}".strip(), found=f"none with the digest {digest[:12]}",
        wanted="every deep prompt",
        next_step="Export all with `mpdd export --to vllm-kv` and start vLLM with them (docs/serving.md).",
    )  # fmt: skip


def _long(ids: Sequence[int]) -> Tensor:
    return torch.tensor(ids, dtype=torch.long)


def _encoded(rows: Tensor) -> str:
    """Rows as the API takes them: a tensor as torch saves it, in base 64."""
    buffer = io.BytesIO()
    torch.save(rows.contiguous().clone(), buffer)
    return base64.b64encode(buffer.getvalue()).decode()


def _salt(prompt: Tensor | None) -> str:
    if prompt is None:
        return "none"
    return hashlib.sha256(prompt.float().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
