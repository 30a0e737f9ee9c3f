"""Finds terms of a kind in raw text by word lists and word endings: rough, free, and enough to practise listing on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_QUESTION_TOPIC = re.compile(
    r"(?:What is \(are\)|symptoms of|treatments for|at risk for|outlook for|causes|inherited)\s+(.+?)\s*\?"
)
_DISEASE_WORD = re.compile(
    r"[a-z]{3,}(?:itis|emia|oma|omas|osis|pathy|algia|uria|rrhea|plegia|trophy|sclerosis|megaly)|cancers?|tumou?rs?|infections?"
    r"|hypertension|hypotension|diabetes|asthma|seizures?|epilepsy|stroke|fever|nausea|vomiting|pain|headaches?|cough|edema"
    r"|rash|allerg(?:y|ies)|syndrome|failure|toxicity|bleeding|hemorrhage|fatigue|dyspnea|obesity|depression|anxiety|dementia"
)
_NOT_A_DISEASE = frozenset(("symptom", "symptoms", "diagnosis", "prognosis", "dose", "anesthesia", "memory", "aging", "genetic"))
_PATTERNS = {
    "chemical": re.compile(
        r"\b[A-Za-z]{3,}(?:mab|pril|sartan|olol|statin|azole|cillin|mycin|oxacin|idine|amine|prazole|dipine|zepam|barbital"
        r"|cycline|caine|tinib|avir|sone|olone|phylline|parin|platin|taxel|formin|glucose|cholesterol|insulin)\b"
        r"|\b(?:aspirin|ibuprofen|morphine|warfarin|lithium|calcium|sodium|potassium|iron|zinc|magnesium|oxygen|alcohol|nicotine"
        r"|caffeine|heparin|placebo|vitamin [A-EK]\d*|estrogen|testosterone|methotrexate|tamoxifen|opioids?|steroids?)\b"
    ),
    "anatomy": re.compile(
        r"\b(?:heart|lungs?|liver|kidneys?|brain|skin|bone marrow|bones?|spleen|stomach|colon|pancreas|bladder|prostate|breasts?"
        r"|uterus|ovar(?:y|ies)|eyes?|ears?|nose|throat|abdomen|chest|neck|knees?|hips?|shoulders?|spine|muscles?|arter(?:y|ies)"
        r"|veins?|nerves?|lymph nodes?|thyroid|tongue|teeth|legs?|arms?|hands?|feet|foot)\b",
        re.IGNORECASE,
    ),
    "dose": re.compile(r"\b\d[\d.,]*\s?(?:mg/kg|mg|mcg|g|ml|mL|units|mmHg|mmol/L|cm|mm)\b"),
    "percent": re.compile(r"\b\d[\d.]*\s?%"),
    "duration": re.compile(r"\b(?:\d+|one|two|three|four|six)[ -](?:years?|months?|weeks?|days?|hours?|minutes?)\b"),
    "gene": re.compile(r"\b(?:[A-Z]{2,6}-?\d{1,3}[A-Z]?|[A-Z][a-z]{2}\d{1,2}|p53|TNF|VEGF|EGFR|CRP|HLA)\b"),
    "person": re.compile(
        r"\b(?:patients?|wom[ae]n|m[ae]n|child(?:ren)?|participants?|adults?|infants?|volunteers?|subjects?|mice|rats?|nurses?"
        r"|mothers?|boys?|girls?|controls?|students?|smokers?)\b",
        re.IGNORECASE,
    ),
    "procedure": re.compile(
        r"\b[A-Za-z]{3,}(?:ectomy|oscopy|ography|plasty|otomy|ostomy|therapy|centesis)\b|\b(?:surgery|biopsy|transfusion|dialysis"
        r"|vaccination|injections?|infusions?|intubation|ventilation|acupuncture|massage|exercise|counsell?ing|screening|MRI|CT)\b"
    ),
    "test": re.compile(
        r"\b(?:blood pressure|heart rate|pulse|body mass index|BMI|weight|height|temperature|creatinine|platelets?|white count"
        r"|hemat[o]crit|ha?emoglobin|bilirubin|albumin|LDL|HDL|ejection fraction|age|pain score|respirations?)\b",
        re.IGNORECASE,
    ),
    "frequency": re.compile(
        r"\b(?:(?:once|twice|three times) (?:a|per) (?:day|week|month)|(?:once|twice) (?:daily|weekly)|daily|weekly|monthly"
        r"|every \w+ (?:hours?|days?|weeks?|months?))\b"
    ),
    "negation": re.compile(r"\b(?:no|not|without|denies|denied|negative for|absence of|never)\b", re.IGNORECASE),
    "outcome": re.compile(
        r"\b(?:mortality|survival|quality of life|adverse events?|side effects?|recurrence|relapse|remission|complications?"
        r"|incidence|prevalence|death|recovery|improvement|length of stay|costs?|satisfaction)\b",
        re.IGNORECASE,
    ),
    "number": re.compile(r"(?:[<>=≤≥]\s?)\d[\d.,]*|\b\d{2,}[\d.,]*\b(?!\s?[%a-z])"),
}
NAMES = {  # what a kind may be called
    "disease": ("Disease", "Disorder", "Condition", "Problem", "Diagnosis"),
    "chemical": ("Chemical", "Drug", "Treatment", "Medication", "Substance"),
    "anatomy": ("Anatomy", "Body part", "Site", "Organ"),
    "dose": ("Dose", "Measurement", "Quantity"),
    "percent": ("Percentage", "Rate"),
    "duration": ("Duration", "Time", "Temporal"),
    "gene": ("Gene", "Protein", "Marker", "Gene product"),
    "person": ("Person", "Participant", "Organism", "Subject"),
    "procedure": ("Procedure", "Intervention", "Therapy", "Event"),
    "test": ("Test", "Lab value", "Observation"),
    "frequency": ("Frequency", "Schedule"),
    "negation": ("Negation", "Negated"),
    "outcome": ("Outcome", "Endpoint", "Effect"),
    "number": ("Value", "Number"),
}


@dataclass(frozen=True)
class Terms:
    """Finds terms; `lexicon` holds lower-cased names of diseases."""

    lexicon: frozenset[str]

    @classmethod
    def over(cls, questions: Iterable[str]) -> Terms:
        """Take the names of diseases from consumers' questions about them."""
        topics = (found.lower() for question in questions if (found := topic(question)))
        plain = (re.sub(r"\s*\(.*?\)", "", t).strip(" ?,") for t in topics)
        return cls(frozenset(t for t in plain if 4 <= len(t) <= 60 and len(t.split()) <= 5) - _NOT_A_DISEASE)

    def of(self, kind: str, text: str) -> list[str]:
        """The mentions of a kind of term, in the order of the text, repeats included."""
        return [text[start:end] for start, end in self.spans(kind, text)]

    def spans(self, kind: str, text: str) -> list[tuple[int, int]]:
        """The same as (start, end) in characters."""
        return self._diseases(text) if kind == "disease" else [m.span() for m in _PATTERNS[kind].finditer(text)]

    def _diseases(self, text: str) -> list[tuple[int, int]]:
        tokens, found, i = list(re.finditer(r"[A-Za-z0-9'-]+", text)), [], 0
        while i < len(tokens):
            for size in range(min(5, len(tokens) - i), 0, -1):
                start, end = tokens[i].start(), tokens[i + size - 1].end()
                term = text[start:end].lower()
                if term in self.lexicon or (size == 1 and _DISEASE_WORD.fullmatch(term)):
                    found.append((start, end))
                    i += size - 1
                    break
            i += 1
        return found


def topic(question: str) -> str:
    """What a consumer's question is about, or an empty string."""
    found = _QUESTION_TOPIC.search(question)
    return found.group(1) if found else ""
