"""Makes instruction tasks out of raw pretraining text, so that a small backbone learns to read, copy and choose.

No dataset of the benchmark is used. Every maker takes a generator for the content, one for the style (instruction,
label words, kinds asked for) and a document, and returns (input, target), or None where the document does not suit it.
The same style seed gives the same task on every document. The layout is the package's own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from backbones import questions as asked
from backbones.corpus import SENTENCE, Document
from backbones.passages import Maker, Pair, layout, of_length, window
from backbones.terms import NAMES, Terms, topic

_ABBREVIATION = re.compile(r"((?:[A-Za-z]+[ -]){1,6})\(([A-Z]{2,6})\)")
WINDOWS = 5  # places of a document that are looked at for a relation
_YES_NO = (("yes", "no"), ("entailment", "not entailment"), ("true", "false"), ("support", "refute"))
_THREE = (
    ("entailment", "contradiction", "neutral"), ("support", "refute", "not enough information"), ("yes", "no", "maybe"),
    ("true", "false", "not said"),
)  # fmt: skip
_PAIRED = (  # kinds of terms that stand in a relation when they stand in one sentence, and what it may be called
    ("chemical", "disease", ("treats", "occurs with", "affects", "drug of")),
    ("disease", "chemical", ("treated with", "caused by", "related to")),
    ("chemical", "dose", ("has dose", "given at", "has value")),
    ("chemical", "frequency", ("has schedule", "given", "has temporal")),
    ("disease", "anatomy", ("located in", "has site", "affects")),
    ("procedure", "anatomy", ("done on", "has site")),
    ("procedure", "disease", ("done for", "treats")),
    ("gene", "disease", ("associated with", "marker of")),
    ("chemical", "gene", ("acts on", "regulates", "inhibits")),
    ("test", "number", ("has value", "measured as")),
    ("test", "dose", ("has value", "measured as")),
    ("disease", "duration", ("lasts", "has time", "has temporal")),
    ("person", "duration", ("aged", "followed for")),
    ("outcome", "percent", ("has rate", "has value")),
    ("disease", "percent", ("has rate", "has value")),
    ("disease", "negation", ("has negation", "negated by")),
    ("chemical", "chemical", ("taken with", "interacts with", "compared with")),
    ("gene", "gene", ("binds", "associated with")),
)
_TRIGGERS = {  # words that say what happens between two terms
    "up": re.compile(r"\b(?:increas|higher|elevat|rais|greater|improv|enhanc)\w*"),
    "down": re.compile(r"\b(?:decreas|lower|reduc|less|inhibit|declin|suppress|block)\w*"),
    "cause": re.compile(r"\b(?:caus|induc|lead|result|associat|due to|risk)\w*"),
    "treat": re.compile(r"\b(?:treat|therap|prescri|given|receiv|administ|used for)\w*"),
    "advice": re.compile(r"\b(?:should|must|avoid|recommend|caution|need)\w*"),
}
_TRIGGER_NAMES = {
    "up": ("increases", "raises", "activator", "positive"), "down": ("decreases", "lowers", "inhibitor", "negative"),
    "cause": ("causes", "induces", "effect"), "treat": ("treats", "used for", "mechanism"), "advice": ("advise", "recommended"),
}  # fmt: skip
_OPPOSITES = {
    "increased": "decreased", "decreased": "increased", "higher": "lower", "lower": "higher", "more": "less", "less": "more",
    "is": "is not", "are": "are not", "was": "was not", "were": "were not", "can": "cannot", "may": "may not",
    "with": "without", "significant": "no", "reduced": "increased", "before": "after", "after": "before",
}  # fmt: skip
_ENDING = re.compile(r"\b(?:CONCLUSIONS?|Conclusions?|IMPRESSION|ASSESSMENT)\b[\s:.]*(?=[A-Z0-9])")


@dataclass(frozen=True)
class Makers:
    """The task makers over one corpus."""

    documents: Sequence[Document]
    trials: Sequence[Document]
    questions: Sequence[str]
    terms: Terms

    @classmethod
    def over(cls, documents: Sequence[Document]) -> Makers:
        """Collect the questions of `documents` and the names of diseases in them."""
        questions = [d.question for d in documents if d.question]
        return cls(documents, [d for d in documents if d.source == "trials"], questions, Terms.over(questions))

    def maker(self, rng: random.Random) -> Maker:
        """A kind of task, drawn by weight."""
        makers: tuple[tuple[int, Maker], ...] = (
            (2, self.repeat), (6, self.list_terms), (2, self.abbreviations), (4, self.together), (3, self.triggered),
            (2, self.cloze), (4, self.answer_span), (2, self.said_in_text), (3, self.follows_from), (1, self.same_topic),
            (2, self.title), (2, self.conclusion), (1, self.which_topic), (1, self.first_sentence), (1, self.follows),
            (4, partial(asked.typed, self.terms)), (4, partial(asked.compared, self.trials)),
            (2, partial(asked.same_kind, self.terms, self.documents)),
        )  # fmt: skip
        return rng.choices([m for _, m in makers], [w for w, _ in makers])[0]

    def repeat(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Copy a marked span of 1 to 8 words."""
        left, right = style.choice((("<<", ">>"), ("[[", "]]"), ("**", "**"), ("«", "»")))
        ask = style.choice(("Repeat the marked words.", "Copy the marked span.", f"What stands between {left} and {right}?"))
        tokens = window(rng, document.sentences, 1, 4).split(" ")
        if len(tokens) < 4:
            return None
        size = rng.randint(1, min(8, len(tokens)))
        at = rng.randrange(len(tokens) - size + 1)
        span = " ".join(tokens[at : at + size])
        text = " ".join([*tokens[:at], f"{left} {span} {right}", *tokens[at + size :]])
        return layout(ask, ("Text", text)), span

    def list_terms(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """List the mentions of one to five kinds of terms, one line a kind."""
        kinds = style.sample(list(NAMES), style.choice((1, 1, 2, 2, 3, 5)))
        if style.random() < 0.6 and not {"disease", "chemical"} & set(kinds):
            kinds[0] = style.choice(("disease", "chemical"))
        names = {kind: style.choice(NAMES[kind]) for kind in kinds}
        text = window(rng, document.sentences, 1, 8)
        found = {kind: self.terms.of(kind, text) for kind in kinds}
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
        text = window(rng, document.sentences, 2, 8)
        pairs = [pair for m in _ABBREVIATION.finditer(text) for pair in [_long_form(m.group(1), m.group(2))] if pair]
        if not pairs:
            return None
        ask = style.choice(("List the abbreviations with their long forms.", "Which terms are abbreviated, and how?"))
        return layout(ask, ("Text", text)), "abbreviated as: " + "; ".join(f"{a} -> {b}" for a, b in pairs)

    def together(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Pair terms of two kinds that stand in one sentence, for one to three relations, one line a relation."""
        chosen = style.sample(_PAIRED, style.choice((1, 1, 2, 3)))
        labels = [style.choice(names) for _, _, names in chosen]
        nearest = style.random() < 0.6
        lines: dict[str, list[str]] = {}
        for _ in range(WINDOWS):
            text = window(rng, document.sentences, 1, 5)
            for (head, tail, _), label in zip(chosen, labels, strict=True):
                if pairs := self._pairs(head, tail, text, nearest):
                    lines[label] = lines.get(label, []) + pairs
            if lines:
                break
        if not lines and rng.random() > 0.05:
            return None
        first, second = (style.choice(NAMES[kind]).lower() for kind in chosen[0][:2])
        ask = style.choice((
            f"Pair each {first} with the {second} in the same sentence.", f"Which {first} is linked to which {second}?",
            f"List the relations of the text: {', '.join(dict.fromkeys(labels))}.", "Which terms are related, and how?",
        ))  # fmt: skip
        return layout(ask, ("Text", text)), "\n".join(f"{k}: {'; '.join(v[:8])}" for k, v in lines.items()) or "none"

    def _pairs(self, head: str, tail: str, text: str, nearest: bool) -> list[str]:
        pairs = []
        for sentence in SENTENCE.split(text):
            heads, tails = self.terms.spans(head, sentence), self.terms.spans(tail, sentence)
            for at in heads:
                others = [t for t in tails if sentence[slice(*t)] != sentence[slice(*at)] and (head != tail or t > at)]
                others = sorted(others, key=lambda t, at=at: abs(t[0] - at[0]))[:1] if nearest else others  # type: ignore[misc]
                pairs += [f"{sentence[slice(*at)]} -> {sentence[slice(*t)]}" for t in others]
        return list(dict.fromkeys(pairs))[:8]

    def triggered(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Pair neighbouring terms of a sentence under the label that a word of the sentence gives, if one does."""
        first, second = style.choice((
            ("chemical", "disease"), ("chemical", "chemical"), ("chemical", "gene"), ("procedure", "disease"),
            ("disease", "disease"), ("chemical", "outcome"), ("procedure", "outcome"),
        ))  # fmt: skip
        kinds = style.sample(list(_TRIGGERS), style.choice((1, 2, 3)))
        names = {kind: style.choice(_TRIGGER_NAMES[kind]) for kind in kinds}
        lines: dict[str, list[str]] = {}
        for _ in range(WINDOWS):
            text = window(rng, document.sentences, 1, 3)
            for sentence in SENTENCE.split(text):
                said = next((kind for kind in kinds if _TRIGGERS[kind].search(sentence)), None)
                if said and (pairs := self._pairs(first, second, sentence, nearest=True)):
                    lines[names[said]] = lines.get(names[said], []) + pairs
            if lines:
                break
        if not lines and rng.random() > 0.07:
            return None
        a, b = (style.choice(NAMES[kind]).lower() for kind in (first, second))
        ask = style.choice((f"How does a {a} act on a {b}: {', '.join(names.values())}?", f"List the {a} and {b} relations."))
        shown = [f"{name}: {'; '.join(lines[name])}" for name in dict.fromkeys(names.values()) if name in lines]
        return layout(ask, ("Text", text)), "\n".join(shown) or "none"

    def answer_span(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Answer with the words of the text that a question of its words leaves out."""
        sentences = [s for s in SENTENCE.split(window(rng, document.sentences, 3, 12)) if 6 <= len(s.split()) <= 40]
        if len(sentences) < 2:
            return None
        words = rng.choice(sentences).rstrip(".").split()
        size = rng.randint(1, 6)
        at = rng.randrange(len(words) - min(size, len(words) - 3))
        answer = " ".join(words[at : at + size]).strip(",;:()")
        near = [*words[max(0, at - 8) : at], style.choice(("what", "which", "____")), *words[at + size : at + size + 8]]
        kept = [w for w in near if rng.random() > 0.15 or not w.islower()]
        if not answer:
            return None
        ask = style.choice(("Answer the question with words of the text.", "Copy the shortest span that answers.", "Answer."))
        fields = [("Text", " ".join(sentences)), ("Question", " ".join(kept) + "?")]
        return layout(ask, *(fields if style.random() < 0.8 else fields[::-1])), answer

    def cloze(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Choose or name the word that was taken out of a sentence."""
        free = style.random() < 0.3
        text = window(rng, document.sentences, 1, 3)
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
        sentences = of_length(rng, document.sentences, 5, 40)
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

    def follows_from(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Say whether a claim follows from a text, is against it, or neither: its own, a turned or another sentence."""
        words = style.choice(_THREE)
        two = style.random() < 0.3
        first, second = style.choice((("Premise", "Hypothesis"), ("Text", "Claim"), ("Evidence", "Claim"), ("Text", "Question")))
        listed = f"{words[0]} or {words[1]}" if two else f"{words[0]}, {words[1]} or {words[2]}"
        ask = style.choice((f"Does the {second.lower()} follow: {listed}?", f"Compare the two: {listed}.", f"Answer {listed}."))
        sentences = of_length(rng, document.sentences, 5, 40)
        if len(sentences) < 8:
            return None
        at = rng.randrange(len(sentences) - 4)
        premise = sentences[at : at + rng.randint(1, 4)]
        kind = rng.choice((0, 1) if two else (0, 1, 2))
        tokens = rng.choice(premise).split()
        if kind == 2:
            tokens = rng.choice([s for s in sentences if s not in premise] or sentences[:1]).split()
        elif kind == 1:
            turns = [i for i, w in enumerate(tokens) if w.lower() in _OPPOSITES or re.fullmatch(r"\d+", w)]
            if not turns:
                return None
            i = rng.choice(turns)
            tokens[i] = _OPPOSITES.get(tokens[i].lower()) or str(int(tokens[i]) + rng.randint(1, 20))
        if kind != 1 and len(tokens) > 12 and rng.random() < 0.4:
            tokens = tokens[: rng.randint(7, 12)]
        return layout(ask, (first, " ".join(premise)), (second, " ".join(tokens))), words[kind]

    def conclusion(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Write the conclusion or impression that ended a text or an abstract."""
        found = _ENDING.search(document.text, 200)
        if not found or found.end() > 12000:
            return None
        before = document.text[max(0, found.start() - rng.randint(500, 1400)) : found.start()].partition(" ")[2].strip()
        after = " ".join(s for s in SENTENCE.split(document.text[found.end() : found.end() + 700]) if s)[:400]
        after = after.rpartition(". ")[0] + "." if ". " in after else after
        if len(after.split()) < 4 or len(before.split()) < 20:
            return None
        ask = style.choice(
            ("Write the impression.", "Summarize the text.", "What is concluded?", "Write the conclusion briefly.")
        )
        return layout(ask, ("Text", before)), after

    def which_topic(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Choose the disease that an answer to a consumer's question is about."""
        name = topic(document.question)
        others = [t for t in (topic(q) for q in rng.sample(self.questions, min(12, len(self.questions)))) if t and t != name][:3]
        if not name or len(others) < 3:
            return None
        text = re.sub(re.escape(name), "it", window(rng, document.sentences, 1, 4, start=0), flags=re.IGNORECASE)
        options = [name, *others]
        rng.shuffle(options)
        ask = style.choice(("Choose the right answer.", "Which disease is it?", "Answer the question."))
        return layout(ask, ("Question", f"{text} Which of these is it?"), options=options), name

    def same_topic(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Say whether a question is answered by a text."""
        if not document.question:
            return None
        fits = rng.random() < 0.5
        asked = document.question if fits else rng.choice(self.questions)
        fields = (("Text", window(rng, document.sentences, 1, 3, start=0)), ("Question", asked))
        return layout("Does the text answer the question, yes or no?", *fields), "yes" if fits else "no"

    def title(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Write the title, or the question that a text answers."""
        if document.question:
            return layout(
                "Write the question that the text answers.", ("Text", window(rng, document.sentences, 1, 5, start=0))
            ), document.question
        title, body = document.title, document.text
        if document.source == "trials" and body.startswith("TITLE:"):
            title, _, body = body.removeprefix("TITLE:").strip().partition("\n")
        if not 3 <= len(title.split()) <= 40:
            return None
        ask = style.choice(
            ("Summarize the text in one sentence.", "Write a title for the text.", "Say briefly what the text is about.")
        )
        return layout(ask, ("Text", window(rng, SENTENCE.split(body[:4000]), 2, 8, start=0))), title

    def first_sentence(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Answer a consumer's question with the first sentence of its answer."""
        if not document.question:
            return None
        return layout("Answer the question.", ("Question", document.question)), window(rng, document.sentences, 1, 1, start=0)

    def follows(self, rng: random.Random, style: random.Random, document: Document) -> Pair | None:
        """Choose the sentence that comes next."""
        sentences = of_length(rng, document.sentences, 4, 25)
        if len(sentences) < 8:
            return None
        at = rng.randrange(len(sentences) - 1)
        options = [sentences[at + 1], *rng.sample([s for s in sentences if s != sentences[at + 1]], 3)]
        rng.shuffle(options)
        return layout("Choose the sentence that comes next.", ("Text", sentences[at]), options=options), sentences[at + 1]


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
