"""What stands around every input: the tokenizer's own start token and no more, or the turns of a chat template.

An instruction-tuned backbone (Llama 3.1 Instruct, Meditron3, gpt-oss in its Harmony format) expects its turns; a base model
does not. A prompt file keeps the template that its prompt was trained in, as text, so that it is asked in the same one
whatever a later version of the tokenizer or the day's date says. The soft prompt stands before all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from transformers import PreTrainedTokenizerBase

from mpdd.errors import InputError

Kind = Literal["plain", "chat"]
_ASKED, _SAID = "QqAskedqQ", "QqSaidqQ"  # stand for a text and its answer while a template is taken apart
_DAY = date(2026, 1, 1)  # what templates get that ask for today's date; transformers has no other way to say so
_CODES = "".join(f" | replace('%{code}', '{_DAY:%{code}}')" for code in "aAbBdmyY")
_FROZEN = "{%- macro strftime_now(format) -%}{{ format" + _CODES + " }}{%- endmacro -%}"


@dataclass(frozen=True)
class Template:
    """Text before and after an input, special tokens spelt out; `space` says whether a space begins an answer."""

    before: str = ""
    after: str = ""
    space: bool = True

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, kind: Kind = "plain") -> Template:
        """That of a tokenizer. Raises `InputError` for a tokenizer without a chat template, or with one that hides a text."""
        return _chat(tokenizer) if kind == "chat" else _plain(tokenizer)

    @property
    def kind(self) -> Kind:
        """What an experiment calls it."""
        return "plain" if self.space else "chat"


PLAIN = Template()


def _plain(tokenizer: PreTrainedTokenizerBase) -> Template:
    """The start token, where the tokenizer puts one before a text of its own accord."""
    start = tokenizer.bos_token_id
    added: list[int] = tokenizer("")["input_ids"]
    return Template(before=str(tokenizer.bos_token)) if start is not None and added[:1] == [start] else PLAIN


def _chat(tokenizer: PreTrainedTokenizerBase) -> Template:
    """A user's turn around the input, and an assistant's up to where its answer begins."""
    if not tokenizer.chat_template:
        raise InputError(
            "The backbone's tokenizer has no chat template", wanted='an instruction-tuned backbone, or template = "plain"'
        )
    turns = [{"role": "user", "content": _ASKED}, {"role": "assistant", "content": _SAID}]
    frozen = _FROZEN + str(tokenizer.get_chat_template())
    text = str(tokenizer.apply_chat_template(turns, chat_template=frozen, tokenize=False))
    if text.count(_ASKED) != 1 or text.count(_SAID) != 1 or text.index(_SAID) < text.index(_ASKED):
        raise InputError(
            "The chat template of the backbone's tokenizer does not show a question and its answer once each, in this order",
            wanted='another template, or template = "plain"',
        )
    before, rest = text.split(_ASKED)
    after, _ = rest.split(_SAID)
    return Template(before, after, space=False)
