"""What OpenAI clients send. Decoding is greedy and nothing is kept, so that what changes nothing of that is taken, whatever
its value; what would change an answer is taken only at the value that does not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from mpdd.serving.schema import Body, Name, Text

_Tokens = Annotated[int, Field(gt=0)] | None
_Zero = Annotated[float, Field(ge=0, le=0)] | None  # anything else would change what is likeliest
_Empty = Annotated[list[Any], Field(max_length=0)] | None
_Stop = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
_Word = Annotated[str, StringConstraints(max_length=1000)] | None


class TextFormat(Body):
    """The only form of answers."""

    type: Literal["text"]


class StreamOptions(Body):
    """What a stream tells besides the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class OpenAi(Body):
    """What both kinds of completion may ask for."""

    model: Name
    max_tokens: _Tokens = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    frequency_penalty: _Zero = None
    presence_penalty: _Zero = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    # These change nothing of a greedy answer.
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: int | None = None
    user: _Word = None
    metadata: dict[str, Any] | None = None
    store: Literal[False] | None = None
    service_tier: _Word = None
    safety_identifier: _Word = None
    prompt_cache_key: _Word = None
    prompt_cache_retention: _Word = None

    @property
    def stops(self) -> list[str]:
        """Where an answer ends."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class Completion(OpenAi):
    """OpenAI's legacy completion, with a task as the model and a note as the prompt, or several notes."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=100)]
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None

    @property
    def texts(self) -> list[str]:
        """The notes."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(Body):
    """One message of a chat. Of all but the last nothing is read."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=1000)] | None = None
    name: _Word = None
    refusal: _Word = None
    annotations: _Empty = None
    tool_calls: _Empty = None
    function_call: None = None
    audio: None = None

    @property
    def text(self) -> str:
        """What was said; parts stand under each other."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class Chat(OpenAi):
    """OpenAI's chat completion, with a task as the model; the last message, a user's, is the note."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=100)]
    max_completion_tokens: _Tokens = None
    response_format: TextFormat | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None
    tools: _Empty = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    functions: _Empty = None
    function_call: Literal["none", "auto"] | None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    prediction: None = None
    web_search_options: None = None
    reasoning_effort: _Word = None
    verbosity: _Word = None

    @property
    def most_tokens(self) -> int | None:
        """How long an answer may be."""
        return self.max_completion_tokens or self.max_tokens
