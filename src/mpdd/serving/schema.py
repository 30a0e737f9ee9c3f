"""What clients send and get. Unknown keys are refused; no tensor and no path can be sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_Line = Annotated[str, StringConstraints(max_length=10_000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Annotate(_Body):
    """A note and the tasks to answer about it. `fields` are further inputs by name (Question, Hypothesis), `choices` options."""

    text: Text
    tasks: Annotated[list[Name], Field(min_length=1, max_length=100)]
    fields: Annotated[dict[Name, _Line], Field(max_length=20)] = {}
    choices: Annotated[list[_Line], Field(max_length=50)] = []


class _OpenAi(_Body):
    """What both kinds of completion may ask for. Decoding is greedy, whatever is asked."""

    model: Name
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    temperature: float | None = None
    n: Literal[1] = 1
    stream: Literal[False] = False
    user: str | None = None


class Completion(_OpenAi):
    """OpenAI's legacy completion, with a task as the model and a note as the prompt."""

    prompt: Text


class Message(_Body):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text


class Chat(_OpenAi):
    """OpenAI's chat completion, with a task as the model; the last message, a user's, is the note."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=100)]
    max_completion_tokens: Annotated[int, Field(gt=0)] | None = None


class Annotations(BaseModel):
    """One result for each task, in the order asked for; offsets are Unicode code points of the text as it was sent."""

    id: str
    results: list[dict[str, Any]]


class Task(BaseModel):
    """A task that the caller may use."""

    name: str
    type: str
    instruction: str
    labels: list[str]
    fields: list[str]
    takes_choices: bool
    prompt: str = Field(description="digest of the prompt file")


class Tasks(BaseModel):
    """All tasks that the caller may use."""

    tasks: list[Task]


class Said(BaseModel):
    """What went wrong, in one sentence without anything that was sent."""

    type: str
    message: str


class Error(BaseModel):
    """The body of every answer that is an error."""

    error: Said
