"""Makes instruction tasks out of raw pretraining text, so that a small backbone learns to read, copy and choose.

No dataset of the benchmark is used. Every maker takes a generator for the content, one for the style (instruction,
label words, kinds asked for) and a document, and returns (input, target), or None where the document does not suit it.
The same style seed gives the same task on every document. The layout is the package's own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backbones.corpus import Document

Pair = tuple[str, str]
Maker = Callable[[random.Random, random.Random, Document], Pair | None]
_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z0-9])|\n+")
_QUESTION_TOPIC = re.compile(
    r"(?:What is \(are\)|symptoms of|treatments for|at risk for|outlook for|causes|inherited)\s+(.+?)\s*\?"
)
_CHEMICAL = re.compile(
    r"\b[A-Za-z]{3,}(?:mab|pril|sartan|olol|statin|azole|cillin|mycin|oxacin|idine|amine|prazole|dipine|zepam|barbital"
    r"|cycline|caine|tinib|avir|sone|olone|phylline|parin|platin|taxel|formin|glucose|cholesterol|insulin)\b"
)
_ANATOMY = re.compile(
    r"\b(?:heart|lungs?|liver|kidneys?|brain|skin|bone marrow|bones?|spleen|stomach|colon|pancreas|bladder|prostate|breasts?"
    r"|uterus|ovar(?:y|ies)|eyes?|ears?|nose|throat|abdomen|chest|neck|knees?|hips?|shoulders?|spine|muscles?|arter(?:y|ies)"
    r"|veins?|nerves?|lymph nodes?|thyroid|tongue|teeth|legs?|arms?|hands?|feet|foot)\b",
    re.IGNORECASE,
)
_DISEASE_WORD = re.compile(
    r"[a-z]{3,}(?:itis|emia|oma|omas|osis|pathy|algia|uria|rrhea|plegia|trophy|sclerosis|megaly)|cancers?|tumou?rs?|infections?"
    r"|hypertension|hypotension|diabetes|asthma|seizures?|epilepsy|stroke|fever|nausea|vomiting|pain|headaches?|cough|edema"
    r"|rash|allerg(?:y|ies)|syndrome|failure|toxicity|bleeding|hemorrhage|fatigue|dyspnea|obesity|depression|anxiety|dementia"
)
_NOT_A_DISEASE = frozenset(("symptom", "symptoms", "diagnosis", "prognosis", "dose", "anesthesia", "memory", "aging", "genetic"))
_DOSE = re.compile(r"\b\d[\d.,]*\s?(?:mg/kg|mg|mcg|g|ml|mL|units|mmHg|mmol/L|cm|mm)\b")
_PERCENT = re.compile(r"\b\d[\d.]*\s?%")
_DURATION = re.compile(r"\b(?:\d+|one|two|three|four|six)[ -](?:years?|months?|weeks?|days?|hours?|minutes?)\b")
_ABBREVIATION = re.compile(r"((?:[A-Za-z]+[ -]){1,6})\(([A-Z]{2,6})\)")
_KINDS = {
    "disease": ("Disease", "Disorder", "Condition", "Problem"),
    "chemical": ("Chemical", "Drug", "Treatment", "Medication"),
    "anatomy": ("Anatomy", "Body part", "Site"),
    "dose": ("Dose", "Measurement", "Quantity"),
    "percent": ("Percentage", "Rate"),
    "duration": ("Duration", "Time"),
}
_YES_NO = (("yes", "no"), ("entailment", "not entailment"), ("true", "false"), ("support", "refute"))


def layout(instruction: str, *fields: tuple[str, str], options: Sequence[str] = ()) -> str:
    """The input layout of `mpdd.data.types`: instruction, named fields, options, then `Answer:`."""
    lines = [instruction, *(f"{name}: {value}" for name, value in fields)]
    if options:
        lines += ["Options:", *(f"{chr(65 + i)}. {option}" for i, option in enumerate(options))]
    return "\n".join([*lines, "Answer:"])


@dataclass(frozen=True)
class Makers:
    """The task makers over one corpus; `lexicon` holds disease names taken from MedQuAD questions."""

    documents: Sequence[Document]
    questions: Sequence[str]
    lexicon: frozenset[str]

    @classmethod
    def over(cls, documents: Sequence[Document]) -> Makers:
        """Collect the lexicon from the questions of `documents`."""
        topics = (m.group(1).lower() for d in documents for m in [_QUESTION_TOPIC.search(d.question)] if m)
        plain = (re.sub(r"\s*\(.*?\)", "", topic).strip(" ?,") for topic in topics)
        questions = [d.question for d in documents if d.question]
        return cls(
            documents, questions, frozenset(t for t in plain if 4 <= len(t) <= 60 and len(t.split()) <= 5) - _NOT_A_DISEASE
        )

    def maker(self, rng: random.Random) -> Maker:
        """A kind of task, drawn by weight."""
        makers: tuple[tuple[int, Maker], ...] = (
            (3, self.repeat), (6, self.list_terms), (2, self.abbreviations), (3, self.together), (2, self.cloze),
            (3, self.said_in_text), (1, self.same_topic), (3, self.title), (1, self.first_sentence), (1, self.follows),
        )  # fmt: skip
        return rng.choices([m for _, m in makers], [w for w, _ in makers])[0]

    def repeat(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Copy a marked span of 1 to 8 words."""
        left, right = style.choice((("<<", ">>"), ("[[", "]]"), ("**", "**"), ("«", "»")))
        ask = style.choice(("Repeat the marked words.", "Copy the marked span.", f"What stands between {left} and {right}?"))
        tokens = _window(rng, document.text, 1, 4).split(" ")
        if len(tokens) < 4:
            return None
        size = rng.randint(1, min(8, len(tokens)))
        at = rng.randrange(len(tokens) - size + 1)
        span = " ".join(tokens[at : at + size])
        text = " ".join([*tokens[:at], f"{left} {span} {right}", *tokens[at + size :]])
        return layout(ask, ("Text", text)), span

    def list_terms(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """List the mentions of one to three kinds of terms, one line a kind."""
        kinds = style.sample(list(_KINDS), style.choice((1, 1, 2, 2, 3)))
        if style.random() < 0.6 and not {"disease", "chemical"} & set(kinds):
            kinds[0] = style.choice(("disease", "chemical"))
        names = {kind: style.choice(_KINDS[kind]) for kind in kinds}
        text = _window(rng, document.text, 1, 8)
        found = {kind: self._mentions(kind, text) for kind in kinds}
        if not any(found.values()) and rng.random() > 0.15:
            return None
        lines = [f"{names[kind]}: {'; '.join(found[kind])}" for kind in kinds if found[kind]]
        listed = " and ".join(_plural(names[kind].lower()) for kind in kinds)
        ask = style.choice(
            ("List the {} named in the text.", "Find all {}.", "Which {} are mentioned?", "Extract every mention of {}.")
        )
        return layout(ask.format(listed), ("Text", text)), "\n".join(lines) or "none"

    def abbreviations(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Pair each long form with its abbreviation, as relations are written."""
        text = _window(rng, document.text, 2, 8)
        pairs = [pair for m in _ABBREVIATION.finditer(text) for pair in [_long_form(m.group(1), m.group(2))] if pair]
        if not pairs:
            return None
        ask = style.choice(("List the abbreviations with their long forms.", "Which terms are abbreviated, and how?"))
        return layout(ask, ("Text", text)), "abbreviated as: " + "; ".join(f"{a} -> {b}" for a, b in pairs)

    def together(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Pair the terms of two kinds that stand in one sentence."""
        text = _window(rng, document.text, 1, 4)
        first, second = style.choice(
            (("chemical", "disease"), ("chemical", "dose"), ("disease", "anatomy"), ("disease", "chemical"))
        )
        pairs: list[str] = []
        for sentence in _SENTENCE.split(text):
            heads, tails = self._mentions(first, sentence), self._mentions(second, sentence)
            pairs += [f"{h} -> {t}" for h in heads for t in tails if h != t]
        pairs = list(dict.fromkeys(pairs))[:8]
        if not pairs and rng.random() > 0.1:
            return None
        label = style.choice(("occurs with", "related to", "linked to", "mentioned with"))
        a, b = style.choice(_KINDS[first]).lower(), style.choice(_KINDS[second]).lower()
        ask = style.choice((f"Pair each {a} with the {b} in the same sentence.", f"Which {a} is linked to which {b}?"))
        return layout(ask, ("Text", text)), f"{label}: " + "; ".join(pairs) if pairs else "none"

    def cloze(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Choose or name the word that was taken out of a sentence."""
        free = style.random() < 0.3
        text = _window(rng, document.text, 1, 3)
        long_words = list(dict.fromkeys(re.findall(r"\b[A-Za-z]{5,}\b", text)))
        if len(long_words) < 6:
            return None
        word = rng.choice(long_words)
        gap = re.sub(rf"\b{word}\b", "____", text)
        if free:
            return layout("Which word is missing?", ("Text", gap)), word
        other = re.findall(r"\b[A-Za-z]{5,}\b", rng.choice(self.documents).text[:3000]) or ["nothing"]
        options = list(dict.fromkeys([word, *(rng.choice(other) for _ in range(3))]))
        rng.shuffle(options)
        return layout("Choose the word that fills the gap.", ("Question", gap), options=options), word

    def said_in_text(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Say whether the text states a sentence: one of its own, one from elsewhere, or one with a changed number."""
        words = style.choice(_YES_NO)
        ask = style.choice((f"Does the text say the claim, {words[0]} or {words[1]}?", f"Answer {words[0]} or {words[1]}: does the premise state the hypothesis?"))  # fmt: skip  # noqa: E501
        first, second = style.choice((("Premise", "Hypothesis"), ("Text", "Claim"), ("Evidence", "Claim")))
        sentences = [s for s in _SENTENCE.split(document.text[:20000]) if 5 <= len(s.split()) <= 40]
        if len(sentences) < 8:
            return None
        at = rng.randrange(len(sentences) - 4)
        premise = sentences[at : at + rng.randint(1, 4)]
        kind = rng.choice(("own", "own", "elsewhere", "number"))
        claim = rng.choice(premise)
        if kind == "elsewhere":
            claim = rng.choice([s for s in sentences if s not in premise] or sentences[:1])
        elif kind == "number" and re.search(r"\d", claim):
            claim = re.sub(r"\d+", lambda m: str(int(m.group()) + rng.randint(1, 9)), claim, count=1)
        elif kind == "number":
            kind = "own"
        if rng.random() < 0.5 and len(claim.split()) > 10:
            claim = " ".join(claim.split()[: rng.randint(6, 12)])
        answer = words[0] if kind == "own" else words[1]
        return layout(ask, (first, " ".join(premise)), (second, claim)), answer

    def same_topic(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Say whether a question is answered by a text."""
        if not document.question:
            return None
        fits = rng.random() < 0.5
        asked = document.question if fits else rng.choice(self.questions)
        fields = (("Text", _window(rng, document.text, 1, 3, start=0)), ("Question", asked))
        return layout("Does the text answer the question, yes or no?", *fields), "yes" if fits else "no"

    def title(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Write the title, or the question that a text answers."""
        if document.question:
            return layout(
                "Write the question that the text answers.", ("Text", _window(rng, document.text, 1, 5, start=0))
            ), document.question
        title, body = document.title, document.text
        if document.source == "trials" and body.startswith("TITLE:"):
            title, _, body = body.removeprefix("TITLE:").strip().partition("\n")
        if not 3 <= len(title.split()) <= 40:
            return None
        ask = style.choice(
            ("Summarize the text in one sentence.", "Write a title for the text.", "Say briefly what the text is about.")
        )
        return layout(ask, ("Text", _window(rng, body, 2, 8, start=0))), title

    def first_sentence(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Answer a consumer's question with the first sentence of its answer."""
        if not document.question:
            return None
        return layout("Answer the question.", ("Question", document.question)), _window(rng, document.text, 1, 1, start=0)

    def follows(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Choose the sentence that comes next."""
        sentences = [s for s in _SENTENCE.split(document.text[:20000]) if 4 <= len(s.split()) <= 25]
        if len(sentences) < 8:
            return None
        at = rng.randrange(len(sentences) - 1)
        options = [sentences[at + 1], *rng.sample([s for s in sentences if s != sentences[at + 1]], 3)]
        rng.shuffle(options)
        return layout("Choose the sentence that comes next.", ("Text", sentences[at]), options=options), sentences[at + 1]

    def _mentions(self, kind: str, text: str) -> list[str]:
        if kind == "disease":
            return self._diseases(text)
        pattern = {"chemical": _CHEMICAL, "anatomy": _ANATOMY, "dose": _DOSE, "percent": _PERCENT, "duration": _DURATION}[kind]
        return [m.group() for m in pattern.finditer(text)]

    def _diseases(self, text: str) -> list[str]:
        tokens, found, i = list(re.finditer(r"[A-Za-z0-9'-]+", text)), [], 0
        while i < len(tokens):
            for size in range(min(5, len(tokens) - i), 0, -1):
                span = text[tokens[i].start() : tokens[i + size - 1].end()]
                if span.lower() in self.lexicon or (size == 1 and _DISEASE_WORD.fullmatch(span.lower())):
                    found.append(span)
                    i += size - 1
                    break
            i += 1
        return found


def _window(rng: random.Random, text: str, least: int, most: int, start: int | None = None) -> str:
    """A run of sentences, at most 1,200 characters, from a random place (or from sentence `start`)."""
    offset = 0 if start == 0 else rng.randrange(max(1, len(text) - 3000))
    sentences = [s for s in _SENTENCE.split(text[offset : offset + 5000]) if s]
    begin = start if start is not None else min(1, len(sentences) - 1)
    return " ".join(sentences[begin : begin + rng.randint(least, most)])[:1200]


def _plural(word: str) -> str:
    return word[:-1] + "ies" if word.endswith("y") else word if word.endswith("s") else word + "s"


def _long_form(before: str, short: str) -> tuple[str, str] | None:
    """The words before a bracket whose initials spell the abbreviation, if they do."""
    tokens = re.split(r"[ -]", before.strip())[-len(short) :]
    if len(tokens) == len(short) and "".join(t[:1] for t in tokens).upper() == short:
        tail = before.strip()
        start = re.search(r"[ -]".join(map(re.escape, tokens)) + "$", tail)
        return (start.group(), short) if start else None
    return None
