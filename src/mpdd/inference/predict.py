"""The only inference path: many tasks, each under its own prompt, in one batch; generate freely or score choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from math import exp

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mpdd.backbone.blocked_weights import blocked
from mpdd.backbone.model import Backbone
from mpdd.backbone.packed.decoding_cache import DecodingCache
from mpdd.backbone.packed.kv_cache import KVCache
from mpdd.backbone.template import Template
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.data.batch import encode_answer, encode_input
from mpdd.data.task import Example, Parsed, TaskCard
from mpdd.data.types import candidates, parse, render_input
from mpdd.errors import InputError
from mpdd.inference import padded
from mpdd.inference.decoding.answers import Grammars
from mpdd.inference.decoding.grammar import Grammar
from mpdd.inference.decoding.priors import Priors, TokenShifts, shifts_of
from mpdd.inference.decoding.steering import Steering, steer
from mpdd.inference.decoding.tokens import Allowed, tokens_of
from mpdd.inference.prompt_cache import PromptCache
from mpdd.prompts.pack import Text, pack

BATCH = 256  # rows at a time, memory permitting
_KV_BYTES = 2**30  # bytes of keys and values at a time
_READ = 2**14  # tokens read at a time
_KEPT = 0.9  # of the rows: where fewer are still written on, the others are dropped, which copies what stays
_BLOCKED_FROM = 6  # tokens written, from which on blocked weights are worth their copying
_TEMPLATE_TOKENS = 64  # tokens that a chat template puts around an input, at most as a rule


@dataclass(frozen=True)
class Request:
    """One example to answer for one task, under `prompt` [length, width] (None: the bare backbone), in a `template` (None: the
    backbone's own). A `grounded` answer names only the card's labels and what stands in the text (`decoding`); confidences
    are then those among the answers that may be written. An engine in another process knows a deep prompt by the `digest` of
    its file. `priors` shift its log-odds of "none", of ending a list and of each
    class, and confidences are those behind the shift."""

    card: TaskCard
    example: Example
    prompt: Tensor | None = None
    template: Template | None = None
    grounded: bool = False
    priors: Priors | None = None
    digest: str = ""


@dataclass(frozen=True)
class Prediction:
    """The raw output, the answer read from it, how many characters of the text did not fit the context, and how sure the
    backbone is: the probability of the chosen option among all, or the geometric mean of the written tokens' (raw:
    `Confidence` scales it). `tokens`: what was written freely, with the log-probability of each."""

    output: str
    parsed: Parsed
    cut: int
    confidence: float | None = None
    tokens: tuple[tuple[int, float], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Written:
    """An output, how sure the backbone is of it, and the tokens that were written with their log-probabilities."""

    text: str
    confidence: float | None = None
    tokens: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[tuple[int, float]]) -> Written:
        """What these tokens say; the end token, where there is one, among them."""
        text = str(tokenizer.decode([token for token, _ in tokens], skip_special_tokens=True)).strip()
        return cls(text, exp(sum(log_p for _, log_p in tokens) / len(tokens)), tuple(tokens))


@dataclass(frozen=True)
class Asked:
    """A request in tokens: what is read, what may be answered (empty: anything, `most` tokens at most), and whether the
    likelihood of an answer is taken by the token. Answers written freely follow a `grammar` under `shifts` of some tokens, and
    `of_class` is added to the log-likelihood of each option. `free`: tokens of the context
    that neither this nor an answer takes."""

    ids: tuple[int, ...]
    prompt: Tensor | None
    options: tuple[str, ...]
    continuations: tuple[tuple[int, ...], ...]
    most: int
    by_token: bool
    cut: int
    grammar: Grammar | None = None
    free: int = 0
    shifts: TokenShifts | None = None
    of_class: tuple[float, ...] = ()
    digest: str = ""  # of the prompt's file

    @property
    def tokens(self) -> int:
        """All tokens that this row may come to."""
        return len(self.ids) + (0 if self.prompt is None else len(self.prompt)) + (sum(map(len, self.continuations)) or self.most)


@torch.inference_mode()
def predict(
    backbone: Backbone, requests: Sequence[Request], *, batch_size: int = BATCH, cache: PromptCache | None = None,
    tick: Callable[[int], object] = lambda _: None,
) -> list[Prediction]:  # fmt: skip
    """Answer every request, in order; tasks and prompts may be mixed freely.

    Rows of similar length go together, at most `batch_size` of them and as many as memory holds. Tasks with a fixed set of
    answers score each by likelihood; the others generate greedily up to their card's `max_answer_tokens`. Prompts
    in the `cache` are not run again. Calls `tick(n)` after each batch of n.
    """
    words = backbone.vocabulary
    grammars = Grammars()  # kept no longer than this call, as they hold text
    asked = [ask(words, request, grammars) for request in requests]
    predictions: dict[int, Prediction] = {}
    for batch, outputs in _answered(backbone, asked, batch_size, cache):
        for i, written in zip(batch, outputs, strict=True):
            predictions[i] = prediction_of(requests[i], asked[i], written)
        tick(len(batch))
    return [predictions[i] for i in range(len(requests))]


def _answered(
    backbone: Backbone, asked: Sequence[Asked], batch_size: int, cache: PromptCache | None = None
) -> Iterator[tuple[list[int], Sequence[Written]]]:
    """Yield batch by batch the indices of what was asked, and what the backbone answers."""
    for batch in _batches(backbone, asked, batch_size):
        chosen = [asked[i] for i in batch]
        if chosen[0].options:
            yield batch, choose(chosen, _likelihoods(backbone, chosen, cache).tolist())
        else:
            yield batch, _generate(backbone, chosen, cache)


def prediction_of(request: Request, asked: Asked, written: Written) -> Prediction:
    """The answer that an output gives."""
    parsed = parse(request.card, request.example, written.text)
    return Prediction(written.text, parsed, asked.cut, written.confidence, written.tokens)


def ask(vocabulary: Vocabulary, request: Request, grammars: Grammars | None = None) -> Asked:
    """A request in tokens, its text cut to what fits the context; requests that share `grammars` share what is made of a text.

    Raises `InputError` where it does not fit even so.
    """
    card, prompt = request.card, request.prompt
    options = candidates(card, request.example) or ()
    template = request.template or vocabulary.template
    continuations = tuple(encode_answer(vocabulary.tokenizer, option, template) for option in options)
    most = _most_written(vocabulary, card)
    answer = max(most, min(max(map(len, continuations), default=0), vocabulary.context // 2))
    room = _room(vocabulary, request, answer)
    encoded = encode_input(vocabulary.tokenizer, card, request.example, room, template)
    grammar = (grammars or Grammars()).of(card, request.example, template.space) if request.grounded else None
    by_token, free = bool(request.example.choices), room - len(encoded.input_ids)
    of_class = request.priors.classes if request.priors and options and not by_token else ()
    if of_class and len(of_class) != len(options):
        raise InputError(f"The priors do not fit the task {card.name}", found=f"{len(of_class)} classes", wanted=len(options))
    shifts = shifts_of(vocabulary.tokenizer, card, template, request.priors)
    return Asked(
        encoded.input_ids, prompt, options, continuations, most, by_token, encoded.cut, grammar, free, shifts, of_class,
        request.digest,
    )  # fmt: skip


def is_cut(vocabulary: Vocabulary, request: Request) -> bool:
    """Whether the text of a request whose answer is written freely does not fit the context whole."""
    text = render_input(request.card, request.example)
    room = _room(vocabulary, request, _most_written(vocabulary, request.card))
    if len(text.encode("utf-8", "surrogatepass")) + _TEMPLATE_TOKENS <= room:
        return False  # no token is shorter than a byte
    template = request.template or vocabulary.template
    return encode_input(vocabulary.tokenizer, request.card, request.example, room, template).cut > 0


def _room(vocabulary: Vocabulary, request: Request, answer: int) -> int:
    """Tokens of the context that the prompt and an answer of so many tokens leave for the input."""
    return vocabulary.context - (0 if request.prompt is None else len(request.prompt)) - answer


def _most_written(vocabulary: Vocabulary, card: TaskCard) -> int:
    """Tokens that an answer may have: never more than half of the context."""
    return min(card.max_answer_tokens, vocabulary.context // 2)


def _batches(backbone: Backbone, asked: Sequence[Asked], size: int) -> Iterator[list[int]]:
    """Indices by batch: generating and choosing apart, each from short to long."""
    most = max(_READ, _KV_BYTES // backbone.kv_bytes)
    for chooses in (True, False):
        batch: list[int] = []
        tokens = _READ if chooses else most
        for i in sorted(
            (i for i, question in enumerate(asked) if bool(question.options) == chooses), key=lambda i: (asked[i].tokens, i)
        ):
            if batch and (len(batch) == size or (len(batch) + 1) * asked[i].tokens > tokens):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch


def _generate(backbone: Backbone, asked: Sequence[Asked], cache: PromptCache | None) -> list[Written]:
    """Greedy decoding; a row leaves the batch when it ends or has its task's most tokens."""
    with ExitStack() as while_writing:
        return _written(backbone, asked, cache, while_writing)


def _written(backbone: Backbone, asked: Sequence[Asked], cache: PromptCache | None, while_writing: ExitStack) -> list[Written]:
    steering = [_steering(backbone, question) for question in asked]
    if not backbone.packs:
        rows = [
            padded.generate(backbone, question.ids, question.prompt, question.most, by)
            for question, by in zip(asked, steering, strict=True)
        ]
        return [Written.of(backbone.tokenizer, tokens) for tokens in rows]
    written: list[list[tuple[int, float]]] = [[] for _ in asked]
    active = torch.arange(len(asked))
    packed = pack(backbone, [Text(question.ids, question.prompt) for question in asked], _cached(asked, cache))
    written_on = DecodingCache(packed.layout, packed.segments, backbone.device)
    last = torch.tensor(packed.ends, device=backbone.device) - 1
    states = backbone.packed(packed.embeddings, packed.positions, written_on, last, deep=packed.deep, ids=packed.ids)
    over = [False] * len(asked)
    for step in count(1):
        logits = backbone.logits(states)
        if any(steering):
            steer(logits, [None if over[row] else steering[row] for row in active.tolist()])
        likeliest, following = logits.max(-1)
        for row, token, log_p in zip(
            active.tolist(), following.tolist(), (likeliest - logits.logsumexp(-1)).tolist(), strict=True
        ):
            if not over[row]:
                written[row].append((token, log_p))
                if (by := steering[row]) is not None and token != backbone.end:
                    by.write(token)
                over[row] = token == backbone.end or len(written[row]) == asked[row].most
        going = [k for k, row in enumerate(active.tolist()) if not over[row]]
        if not going:
            break
        if len(going) <= _KEPT * len(active):
            order = written_on.keep(torch.tensor(going, device=following.device))
            active, following = active[order.to(active.device)], following[order]
        if step == _BLOCKED_FROM and not backbone.is_split:
            while_writing.enter_context(blocked(backbone.model, len(active)))
        every = torch.arange(len(active), device=backbone.device)
        states = backbone.packed(backbone.embed(following), written_on.lengths, written_on, every, ids=following)
        written_on.advance()
    return [Written.of(backbone.tokenizer, tokens) for tokens in written]


def _steering(backbone: Backbone, question: Asked) -> Steering | None:
    """What an answer is steered by; None where it is written as the backbone would."""
    if question.grammar is None and question.shifts is None:
        return None
    return Steering(Allowed(question.grammar, tokens_of(backbone.tokenizer)) if question.grammar else None, question.shifts)


def choose(asked: Sequence[Asked], likelihoods: Sequence[float]) -> list[Written]:
    """Pick each row's likeliest option. `likelihoods`: of every token of every row's options, in order."""
    choices: list[Written] = []
    for request, scores in zip(asked, option_scores(asked, likelihoods), strict=True):
        best = max(range(len(scores)), key=scores.__getitem__)
        choices.append(Written(request.options[best], 1 / sum(exp(score - scores[best]) for score in scores)))
    return choices


def option_scores(asked: Sequence[Asked], likelihoods: Sequence[float]) -> list[list[float]]:
    """The score of each row's options, end token included: the whole answer's log-likelihood for fixed labels, the mean of
    a token for options written out, whose lengths differ for reasons of their own; the priors of classes are
    added. `likelihoods` as in `choose`.
    """
    tokens, scores_by_row = iter(likelihoods), []
    for row in asked:
        scores = [sum(next(tokens) for _ in way) / (len(way) if row.by_token else 1) for way in row.continuations]
        scores_by_row.append([score + by for score, by in zip(scores, row.of_class or (0.0,) * len(scores), strict=True)])
    return scores_by_row


@torch.inference_mode()
def score_options(backbone: Backbone, requests: Sequence[Request], *, batch_size: int = BATCH) -> list[list[float]]:
    """The scores by which `predict` picks an option, of requests with a fixed set of answers: a list of its options' for each."""
    asked = [ask(backbone.vocabulary, request) for request in requests]
    scores_of: dict[int, list[float]] = {}
    for batch in _batches(backbone, asked, batch_size):
        chosen = [asked[i] for i in batch]
        scores_of |= zip(batch, option_scores(chosen, _likelihoods(backbone, chosen, None).tolist()), strict=True)
    return [scores_of[i] for i in range(len(requests))]


def _likelihoods(backbone: Backbone, asked: Sequence[Asked], cache: PromptCache | None) -> Float[Tensor, " tokens"]:
    """The log-likelihood of every token of every row's options, in order; what precedes the options is read once."""
    if not backbone.packs:
        return torch.cat(
            [padded.likelihoods(backbone, question.ids, question.prompt, question.continuations) for question in asked]
        )
    packed = pack(
        backbone,
        [Text(question.ids, question.prompt, continuations=[way[:-1] for way in question.continuations]) for question in asked],
        _cached(asked, cache),
    )
    at = [
        position
        for end, continuations in zip(packed.ends, packed.continuations, strict=True)
        for first, last in continuations
        for position in (end - 1, *range(first, last))
    ]
    places = torch.tensor(at, device=backbone.device)
    states = backbone.packed(packed.embeddings, packed.positions, packed.layout, places, deep=packed.deep, ids=packed.ids)
    tokens = torch.tensor(
        [token for question in asked for way in question.continuations for token in way], device=backbone.device
    )
    return backbone.log_likelihoods(states, tokens)


def _cached(asked: Sequence[Asked], cache: PromptCache | None) -> dict[int, KVCache]:
    return cache.of(question.prompt for question in asked) if cache is not None else {}


@torch.inference_mode()
def continued(backbone: Backbone, rows: Sequence[Sequence[int]], prompt: Tensor | None, most: int) -> list[str]:
    """What the backbone writes behind each row of tokens under one prompt, greedily, at most so many tokens."""
    asked = [Asked(tuple(ids), prompt, (), (), most, False, 0) for ids in rows]
    texts: dict[int, str] = {}
    for batch, outputs in _answered(backbone, asked, BATCH):
        texts |= {i: written.text for i, written in zip(batch, outputs, strict=True)}
    return [texts[i] for i in range(len(rows))]
