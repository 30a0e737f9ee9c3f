"""The model card of a repository with prompts: metadata that the hub reads, then what a reader should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined

from mpdd import __version__
from mpdd.data.task import TaskCard
from mpdd.prompts.header import Header

_HUB_TASKS = {  # what the hub calls our types
    "ner": "token-classification", "re": "token-classification", "qa": "question-answering", "nli": "text-classification",
    "summarization": "summarization", "classification": "text-classification",
}  # fmt: skip
_HUB_METRICS = {
    "strict_f1": "f1",
    "macro_f1": "f1",
    "micro_f1": "f1",
    "token_f1": "f1",
    "accuracy": "accuracy",
    "rougeL": "rouge",
}

_BODY = """\
# {{ title }}
{{ "A soft prompt" if files | length == 1 else "Soft prompts" }} for a frozen language model, made with mpdd {{ version }}. {# -#}
The language model is not in this repository. It is `{{ backbone }}`{{
", on the hub `" ~ base_model ~ "`" if base_model and base_model != backbone else "" }} (fingerprint `{{ fingerprint }}`).

| task | type | file | rows | labels |
|---|---|---|---|---|
{% for name, card in cards.items() -%}
| {{ name }} | {{ card.type }} | `{{ files[name] }}` | {{ rows[name] }} | {{ labels[name] }} |
{% endfor %}
## Use
```python
import mpdd

prompts = mpdd.load_prompts("FOLDER")  # or "hf://ORG/NAME", the id of this repository
annotator = mpdd.Annotator(prompts)  # backbone="..." where the language model lies elsewhere
print(annotator.annotate(["..."])[0].to_dicts())
```
{% if adapters -%}
With PEFT, one task at a time (`mpdd_tasks.json` says how each is asked and how its answer is read):

```python
from peft import PeftModel

model = PeftModel.from_pretrained(base, "FOLDER", subfolder="peft/{{ adapters[0] }}")
```
{% endif -%}
{% for name, reason in without.items() -%}
There is no adapter for {{ name }}: {{ reason }}
{% endfor %}
## Scores
{% if scores -%}
On the task's test split, from 0 to 100, with a 95 % interval over documents.

| task | metric | score | interval | test examples | training examples |
|---|---|---:|---:|---:|---:|
{% for row in scores -%}
| {{ row.target }} | {{ row.metric }} | {{ "%.1f" | format(row.value) }} | {{ "%.1f" | format(row.ci_low) }} to {# -#}
{{ "%.1f" | format(row.ci_high) }} | {{ row.n_examples }} | {{ row.shots }} |
{% endfor -%}
{% else -%}
None are given. Measure the prompts on notes of your own before any use: `mpdd evaluate PROMPT LABELLED`.
{% endif %}
## Limits
- Answers can be wrong, and confidence is not correctness. This is no medical device, and nothing for decisions without review.
- Scores hold for notes like those of the test split, and only for the backbone with the fingerprint above.
- A prompt is derived from its training data, and a trained prompt may tell something of it. {# -#}
{{ "Differential privacy holds for: " ~ private | join("; ") ~ "." if private else
"No guarantee of differential privacy is given." }}
"""


@dataclass(frozen=True)
class Score:
    """One score of a prompt on its task's test split, from 0 to 100, with a 95 % interval."""

    target: str
    task_type: str
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n_examples: int
    shots: int | str


@dataclass(frozen=True)
class CardFacts:
    """What a model card says; all but the first three by task. `without`: why a task has no adapter for PEFT."""

    license: str
    base_model: str
    backbone: str
    cards: Mapping[str, TaskCard]
    headers: Mapping[str, Header]
    files: Mapping[str, str]
    scores: Mapping[str, Sequence[Score]]
    without: Mapping[str, str]


def model_card(facts: CardFacts) -> str:
    """The README.md of a repository: YAML metadata as the hub wants it, then the text."""
    return f"---\n{_metadata(facts).to_yaml()}\n---\n\n{_body(facts)}"


def _metadata(facts: CardFacts) -> ModelCardData:
    types = list(dict.fromkeys(card.type for card in facts.cards.values()))
    rows = [row for of_prompt in facts.scores.values() for row in of_prompt]
    return ModelCardData(
        license=facts.license,
        license_name="see-the-model-card" if facts.license == "other" else None,
        base_model=facts.base_model or None,
        library_name="mpdd",
        pipeline_tag=_HUB_TASKS[types[0]] if len(types) == 1 else None,
        tags=["mpdd", "soft-prompt", "clinical-nlp", *(["peft"] if len(facts.without) < len(facts.cards) else []), *types],
        metrics=list(dict.fromkeys(_HUB_METRICS[row.metric] for row in rows)) or None,
        model_name=_title(facts) if rows else None,
        eval_results=[_result(row) for row in rows] or None,
    )


def _result(row: Score) -> EvalResult:
    return EvalResult(
        task_type=_HUB_TASKS[row.task_type], dataset_type=row.target, dataset_name=row.target, dataset_split="test",
        metric_type=_HUB_METRICS[row.metric], metric_name=row.metric, metric_value=round(row.value, 2),
    )  # fmt: skip


def _title(facts: CardFacts) -> str:
    names = list(facts.cards)
    return names[0] if len(names) == 1 else f"{len(names)} clinical tasks"


def _body(facts: CardFacts) -> str:
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    headers = facts.headers
    return environment.from_string(_BODY).render(
        title=_title(facts), version=__version__, base_model=facts.base_model, backbone=facts.backbone,
        cards=facts.cards, files=facts.files,
        fingerprint=next(iter(headers.values())).fingerprint[:12],
        labels={name: ", ".join(card.labels[:12]).replace("|", "/") for name, card in facts.cards.items()},
        rows={name: f"{h.length}, {'before every layer' if h.depth == 'all' else 'at the input'}" for name, h in headers.items()},
        adapters=[file.removesuffix(".safetensors") for name, file in facts.files.items() if name not in facts.without],
        without=facts.without, scores=[row for of_prompt in facts.scores.values() for row in of_prompt],
        private=[f"{n} (epsilon {h.privacy['epsilon']}, each {h.privacy['unit']})" for n, h in headers.items() if h.privacy],
    )  # fmt: skip
