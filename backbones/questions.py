"""Questions made out of raw text whose answers need reading: by the kind of term asked for, and by who had more of what.

Like the makers of `text_to_text`, each takes a generator for the content, one for the style and a document.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from backbones.corpus import SENTENCE, Document
from backbones.passages import Pair, layout, window
from backbones.terms import Terms

_ASKS = {  # how a term of a kind is asked for
    "percent": ("What percentage", "How many percent", "What rate"), "duration": ("How long", "When", "For how long"),
    "dose": ("What dose", "How much", "What amount"), "number": ("How many", "What value", "What number"),
    "disease": ("Which disease", "What condition", "Which problem"),
    "chemical": ("Which drug", "What substance", "What treatment"),
    "gene": ("Which gene", "Which protein", "What marker"), "person": ("Who", "Which people"),
    "test": ("Which measure", "What was measured", "Which test"), "procedure": ("Which procedure", "What therapy"),
    "anatomy": ("Where", "Which organ", "Which part"), "frequency": ("How often",), "outcome": ("Which outcome", "What"),
}  # fmt: skip
_UP = r"higher|greater|increased|larger|longer|more frequent|elevated"
_DOWN = r"lower|reduced|decreased|smaller|shorter|less frequent|fewer"
_GROUP = r"[A-Za-z][\w +/'-]{2,48}?"
_END = r"(?=\s*(?:[.,;:(\[]|group|arm\b|at \d|after|during|$))"
_MORE_OR_LESS = re.compile(
    rf"(?P<outcome>[A-Z][\w /-]{{4,70}}?|(?:the|mean|median|and|that) [\w /-]{{4,60}}?) (?:was|were) (?:\w+ly ){{0,2}}"
    rf"(?:(?P<up>{_UP})|(?P<down>{_DOWN})) (?:in|for|with|among|after) (?:the )?(?P<first>{_GROUP})(?: group| arm| patients)? "
    rf"(?:than|compared (?:with|to)|versus|vs\.?) (?:that |those )?(?:in |with |of |for )?(?:the )?(?P<second>{_GROUP}){_END}"
)
_NO_DIFFERENCE = re.compile(
    rf"[Nn]o (?:statistically )?(?:significant )?differences? (?:\w+ ){{0,3}}?(?:in|for|of) (?:the )?"
    rf"(?P<outcome>[\w /-]{{4,60}}?) (?:\w+ ){{0,2}}between (?:the )?(?P<first>{_GROUP}) and (?:the )?(?P<second>{_GROUP}){_END}"
    rf"|[Nn]o (?:statistically )?(?:significant )?differences? (?:\w+ ){{0,3}}?between (?:the )?(?P<one>{_GROUP}) and (?:the )?"
    rf"(?P<other>{_GROUP}) (?:in|for|with respect to|regarding) (?:the )?(?P<measure>[\w /-]{{4,60}}?)(?=\s*[.,;:(\[])"
    rf"|(?P<compared>[A-Z][\w /-]{{4,60}}?) (?:did not differ|was not (?:significantly )?different|were (?:similar|comparable))"
    rf"(?: \w+ly)? (?:between|for|in) (?:the )?(?P<left>{_GROUP}) and (?:the )?(?P<right>{_GROUP}){_END}"
)
_HINT = re.compile(r"than|compared|versus|vs|difference|differ|similar|comparable")  # no sentence without it compares
TRIALS = 5  # reports of trials that are looked at where the document compares nothing
_ANSWERS = (
    ("increased", "decreased", "no difference"), ("higher", "lower", "the same"), ("more", "less", "equal"),
    ("rose", "fell", "unchanged"), ("up", "down", "neither"),
)  # fmt: skip
_PARTIES = (("Intervention", "Comparator", "Outcome"), ("Group", "Against", "Measure"), ("Treatment", "Control", "Endpoint"))


def typed(terms: Terms, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
    """Ask for a term of the text by its kind and the words around it; the answer is the term, or its clause."""
    whole_clause, field_first = style.random() < 0.25, style.random() < 0.8
    ask = style.choice(("Answer the question with words of the text.", "Copy the answer from the text.", "Answer briefly."))
    sentences = [s for s in SENTENCE.split(window(rng, document.sentences, 2, 16, limit=2400)) if 6 <= len(s.split()) <= 45]
    if not sentences:
        return None
    sentence = rng.choice(sentences)
    found = [(kind, *at) for kind in _ASKS for at in terms.spans(kind, sentence)]
    if not found:
        return None
    kind, start, end = rng.choice(found)
    around = sentence[:start].split()[-rng.randint(2, 9) :] + sentence[end:].split()[: rng.randint(2, 9)]
    kept = [w.strip(",;:()[].") for w in around if rng.random() > 0.2 or not w.islower()]
    question = f"{rng.choice(_ASKS[kind])} {' '.join(kept)}?"
    answer = sentence[start:end]
    if whole_clause:
        left = max(sentence.rfind(mark, 0, start) + len(mark) if mark in sentence[:start] else 0 for mark in (", ", "; ", ": "))
        answer = sentence[left:].split(";")[0].rstrip(". ")
    fields = [("Text", " ".join(sentences)), ("Question", question)]
    return layout(ask, *(fields if field_first else fields[::-1])), answer


def compared(trials: Sequence[Document], rng: random.Random, style: random.Random, document: Document) -> Pair | None:
    """Say which way an outcome went between two groups; asked the other way round half of the time."""
    words, names = style.choice(_ANSWERS), style.choice(_PARTIES)
    listed = f"{words[0]}, {words[1]} or {words[2]}"
    ask = style.choice(
        (f"Compare the first with the second: {listed}.", f"What happened to the outcome: {listed}?", f"Say {listed}.")
    )
    for looked_at in (document, *(rng.choice(trials) for _ in range(TRIALS if trials else 0))):
        begin = rng.randrange(max(1, len(looked_at.sentences) - 60))
        sentences = looked_at.sentences[begin : begin + 80]
        if telling := [(i, match) for i, s in enumerate(sentences) if _HINT.search(s) for match in _statements(s)]:
            break
    else:
        return None
    at, match = rng.choice(telling)
    said = {key: value for key, value in match.groupdict().items() if value}
    outcome = said.get("outcome") or said.get("measure") or said.get("compared") or ""
    first = said.get("first") or said.get("one") or said.get("left") or ""
    second = said.get("second") or said.get("other") or said.get("right") or ""
    way = 0 if "up" in said else 1 if "down" in said else 2
    if rng.random() < 0.5:
        first, second, way = second, first, (1, 0, 2)[way]
    passage = " ".join(sentences[max(0, at - rng.randint(0, 2)) : at + rng.randint(1, 2)])[:1200]
    fields = [("Text", passage), *zip(names, (first, second, outcome), strict=True)]
    return layout(ask, *fields), words[way]


def _statements(sentence: str) -> list[re.Match[str]]:
    return [*_MORE_OR_LESS.finditer(sentence), *_NO_DIFFERENCE.finditer(sentence)]


def same_kind(
    terms: Terms, documents: Sequence[Document], rng: random.Random, style: random.Random, document: Document
) -> Pair | None:
    """Choose the term that was taken out of a text among terms of its own kind."""
    count = style.choice((3, 4, 4, 5))
    ask = style.choice(("Choose the right answer.", "Which of these fills the gap?", "Answer the question."))
    kind = style.choice(("disease", "chemical", "anatomy", "procedure", "gene", "test"))
    text = window(rng, document.sentences, 1, 4)
    found = list(dict.fromkeys(terms.of(kind, text)))
    if not found:
        return None
    term = rng.choice(found)
    pool: list[str] = []
    for _ in range(8):
        other = terms.of(kind, window(rng, rng.choice(documents).sentences, 2, 6))
        pool += [o for o in {o.lower(): o for o in other}.values() if o.lower() not in {p.lower() for p in [*pool, *found]}]
        if len(pool) >= count - 1:
            break
    if len(pool) < count - 1:
        return None
    options = [term, *pool[: count - 1]]
    rng.shuffle(options)
    gap = re.sub(rf"\b{re.escape(term)}\b", "____", text)
    return layout(ask, ("Question", f"{gap} {rng.choice(_ASKS[kind])} is it?"), options=options), term
