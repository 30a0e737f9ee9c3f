"""OpenAI clients as they come: what changes nothing under greedy decoding is taken, streams come in chunks, and every refusal
names its field. The bodies are those that openai-python and LangChain send with their defaults."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpdd.serving.bodies import RefusedError, parse
from mpdd.serving.openai_schema import Chat, Completion
from tests.conftest import tries
from tests.serving.test_app import NOTE, SECRET, error

USER = [{"role": "user", "content": NOTE}]
CHATS = {
    "openai-python, defaults": {"messages": USER, "model": "sums"},
    "openai-python, a stream": {"messages": USER, "model": "sums", "stream": True},
    "openai-python, all it can say that changes nothing": {
        "messages": USER, "model": "sums", "frequency_penalty": 0, "logit_bias": {}, "logprobs": False,
        "max_completion_tokens": 99,
        "metadata": {"ward": "3"}, "modalities": ["text"], "n": 1, "parallel_tool_calls": True, "presence_penalty": 0.0,
        "prompt_cache_key": "k", "reasoning_effort": "low", "response_format": {"type": "text"}, "safety_identifier": "s",
        "seed": 7, "service_tier": "auto", "stop": None, "store": False, "stream": False, "temperature": 0.2,
        "tool_choice": "none",
        "tools": [], "top_logprobs": None, "top_p": 0.9, "user": "u", "verbosity": "low",
    },
    "everything null": {
        "messages": USER, "model": "sums", **dict.fromkeys(
            ["frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata", "modalities", "n",
             "parallel_tool_calls", "prediction", "presence_penalty", "response_format", "seed", "service_tier", "stop", "store",
             "stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "audio"]
        ),
    },
    "LangChain ChatOpenAI": {
        "messages": [{"content": "You are helpful.", "role": "system"}, {"content": NOTE, "role": "user"}],
        "model": "sums", "stream": False, "temperature": 0.7, "n": 1,
    },
    "LangChain ChatOpenAI, streaming": {
        "messages": [{"content": NOTE, "role": "user"}], "model": "sums", "stream": True,
        "stream_options": {"include_usage": True}, "temperature": 0.0,
    },
    "a name": {"messages": [{"role": "user", "content": NOTE, "name": "ward-3"}], "model": "sums"},
    "text parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": NOTE}]}], "model": "sums"},
    "an answer of before, as openai-python dumps it": {
        "messages": [
            *USER,
            {"role": "assistant", "content": "x", "refusal": None, "annotations": [], "audio": None, "function_call": None,
             "tool_calls": None},
            *USER,
        ],
        "model": "sums",
    },
}  # fmt: skip
COMPLETIONS = {
    "openai-python, defaults": {"model": "sums", "prompt": NOTE},
    "LangChain OpenAI": {
        "model": "sums", "prompt": [NOTE], "frequency_penalty": 0, "logit_bias": {}, "logprobs": None, "max_tokens": 256, "n": 1,
        "presence_penalty": 0, "seed": None, "temperature": 0.7, "top_p": 1, "best_of": 1,
    },
    "several": {"model": "sums", "prompt": [NOTE, "She has asthma.", NOTE]},
    "a stream": {"model": "sums", "prompt": NOTE, "stream": True, "echo": False, "suffix": None},
}  # fmt: skip


def events(response):
    """The values of a stream's events, up to its end."""
    assert response.headers["content-type"].startswith("text/event-stream")
    *parts, last, rest = response.text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "") and all(part.startswith("data: ") for part in parts)
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def chat_text(response):
    if "event-stream" not in response.headers["content-type"]:
        return response.json()["choices"][0]["message"]["content"]
    chunks = events(response)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] in ("stop", "length")
    return "".join(choice["delta"].get("content", "") for choice in choices)


@pytest.fixture
def wanted(client):
    """The answer to the note in a plain request."""
    return client.post("/v1/completions", json={"model": "sums", "prompt": NOTE}).json()["choices"][0]["text"]


def test_chat_clients_get_the_same_answer_however_they_ask(client, wanted):
    for name, body in CHATS.items():
        response = client.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, (name, response.text)
        assert chat_text(response) == wanted, name


def test_completion_clients_get_the_same_answer_however_they_ask(client, wanted):
    for name, body in COMPLETIONS.items():
        response = client.post("/v1/completions", json=body)
        assert response.status_code == 200, (name, response.text)
        if body.get("stream"):
            chunks = events(response)
            assert len(chunks) >= 2 and "".join(chunk["choices"][0]["text"] for chunk in chunks) == wanted
        else:
            choices = response.json()["choices"]
            prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
            assert [choice["index"] for choice in choices] == list(range(len(prompts)))
            assert [c["text"] for c, prompt in zip(choices, prompts, strict=True) if prompt == NOTE] == [wanted] * prompts.count(
                NOTE
            )


def test_a_stream_tells_its_usage_where_asked(client):
    body = CHATS["LangChain ChatOpenAI, streaming"]
    *chunks, last = events(client.post("/v1/chat/completions", json=body))
    whole = client.post("/v1/chat/completions", json={**body, "stream": False, "stream_options": None}).json()
    assert last["choices"] == [] and last["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks)


REFUSED = {
    "frequency_penalty": 0.5, "presence_penalty": -1, "logit_bias": {"50256": -100}, "logprobs": True, "n": 2, "temperature": 3,
    "max_tokens": 0, "stop": [""], "seed": "x", "top_p": 2, "store": True, "stream": "yes", "stream_options": {"other": 1},
    "user": 5, "service_tier": 1,
}  # fmt: skip
CHAT_REFUSED = {
    "response_format": {"type": "json_object"}, "tools": [{"type": "function"}], "tool_choice": "required", "audio": {},
    "max_completion_tokens": -1, "top_logprobs": 5, "modalities": ["audio"], "functions": [1], "prediction": {}, "messages": [],
}  # fmt: skip
COMPLETION_REFUSED = {"best_of": 4, "echo": True, "suffix": "x", "prompt": [1, 2, 3]}


@pytest.mark.parametrize("field", REFUSED)
def test_what_would_change_an_answer_is_refused_by_name_on_both_routes(client, field):
    for route, body in (("/v1/chat/completions", CHATS), ("/v1/completions", COMPLETIONS)):
        body = {**body["openai-python, defaults"], field: REFUSED[field]}
        assert f"{field}" in error(client.post(route, json=body), 422)


@pytest.mark.parametrize("field", [*CHAT_REFUSED, *COMPLETION_REFUSED])
def test_what_a_route_cannot_do_is_refused_by_name(client, field):
    if field in CHAT_REFUSED:
        response = client.post("/v1/chat/completions", json={"messages": USER, "model": "sums", field: CHAT_REFUSED[field]})
    else:
        response = client.post("/v1/completions", json={"prompt": NOTE, "model": "sums", field: COMPLETION_REFUSED[field]})
    assert field in error(response, 422)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "tool", "content": "x"}, "messages.0.role"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": SECRET}}]}, "messages.0.content.0.type"),
        ({"role": "user", "content": None}, "messages: the text is empty"),
        ({"role": "user", "content": ""}, "messages.0.content"),
        ({"role": "user", "content": [{"type": "text", "text": " "}]}, "messages: the text is empty"),
        ({"role": "assistant", "content": "x"}, "messages: the last one"),
        ({"role": "user", "content": "x", SECRET: 1}, "messages.0.a field is not known"),
    ],
)
def test_messages_that_cannot_be_a_note_are_refused_by_place(client, message, field):
    assert field in error(client.post("/v1/chat/completions", json={"model": "sums", "messages": [message]}), 422)


def test_a_missing_model_is_named(client):
    assert "model: field required" in error(client.post("/v1/completions", json={"prompt": "x"}), 422)
    assert "model" in error(client.post("/v1/completions", json={"prompt": "x", "model": "none"}), 404)


@pytest.mark.parametrize("task", ["sums", "drugs", "kinds"])
@pytest.mark.parametrize("most", [1, 2, 3, 5, 11, 1000])
def test_an_answer_has_no_more_tokens_than_asked_and_says_where_it_was_cut(client, task, most):
    body = {"model": task, "prompt": NOTE * 30}
    whole = client.post("/v1/completions", json=body).json()
    found = client.post("/v1/completions", json={**body, "max_tokens": most}).json()
    assert 0 <= found["usage"]["completion_tokens"] <= most
    used = found["usage"]
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]
    cut = found["choices"][0]["finish_reason"] == "length"
    assert cut or found["choices"][0]["text"] == whole["choices"][0]["text"]
    if whole["usage"]["completion_tokens"] > most:
        assert cut


def test_a_task_that_needs_more_than_a_text_says_which_field(client):
    body = {"model": "says", "prompt": NOTE}
    assert "fields.Hypothesis" in error(client.post("/v1/completions", json=body), 422)


def test_an_answer_ends_before_the_first_of_its_stop_words(client, wanted):
    middle = wanted[len(wanted) // 2 :][:2]
    for stop in (middle, [middle], ["never there", middle]):
        found = client.post("/v1/completions", json={"model": "sums", "prompt": NOTE, "stop": stop}).json()
        assert found["choices"][0]["text"] == wanted[: wanted.index(middle)]
        assert found["choices"][0]["finish_reason"] == "stop"
    plain = client.post("/v1/completions", json={"model": "sums", "prompt": NOTE, "stop": ["never there"]}).json()
    assert plain["choices"][0]["text"] == wanted


def test_a_model_is_told_by_name_and_a_foreign_one_is_not(make):
    client = make()
    assert client.get("/v1/models/drugs").json() == {"id": "drugs", "object": "model", "created": 0, "owned_by": "mpdd"}
    missing = error(client.get("/v1/models/none"), 404)
    client.headers["Authorization"] = f"Bearer {make.few}"
    assert client.get("/v1/models/drugs").status_code == 200
    assert error(client.get("/v1/models/sums"), 404) == missing


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5) | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just(SECRET), inner, max_size=3),
    max_leaves=5,
)
KEYS = sorted({*Chat.model_fields, *Completion.model_fields, SECRET})


@settings(max_examples=tries(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    model=st.sampled_from([Chat, Completion]), changes=st.dictionaries(st.sampled_from(KEYS), ANYTHING, min_size=1, max_size=3)
)
def test_any_body_fits_or_is_refused_by_fields_without_what_was_sent(model, changes):
    body = {"model": "m", "messages": USER} if model is Chat else {"model": "m", "prompt": NOTE}
    try:
        parse(json.dumps({**body, **changes}).encode(), model)
    except RefusedError as refused:
        assert refused.status == 422 and SECRET not in refused.message
        assert (
            any(key in refused.message for key in changes) or "is not known" in refused.message or "valid JSON" in refused.message
        )


@settings(max_examples=tries(200), deadline=None)
@given(content=st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ud80x0', max_size=40).map(lambda text: text.encode()))
def test_any_bytes_are_refused_in_one_sentence(content):
    for model in (Chat, Completion):
        try:
            parse(content, model)
        except RefusedError as refused:
            assert refused.message.isprintable()
