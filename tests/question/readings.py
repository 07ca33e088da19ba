"""Dialogues as chat templates print them, and what is read where they end."""

from __future__ import annotations

from revisor.language.names import mentions
from revisor.question.put import Question
from revisor.question.reading import questions
from tests.gate.dictionary import Dictionary, fact

NAMES = (
    *("ACME", "Bolt", "Vexley", "Norvale Instruments", "Tarn 400", "Orrin 8"),
    *("Austin", "Boston", "Farrow", "Ada Lund", "Jane Roe"),
)
FACTS = Dictionary(fact(name, "x", "{} is") for name in NAMES)

# Of each template: the system's turn, one of who asks, one of who answers, and its opening.
TEMPLATES = {
    "ChatML": (
        "<|im_start|>system\n{}<|im_end|>\n",
        "<|im_start|>user\n{}<|im_end|>\n",
        "<|im_start|>assistant\n{}<|im_end|>\n",
        "<|im_start|>assistant\n",
    ),
    "Llama 3": (
        "<|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "Gemma": (
        "",
        "<start_of_turn>user\n{}<end_of_turn>\n",
        "<start_of_turn>model\n{}<end_of_turn>\n",
        "<start_of_turn>model\n",
    ),
    "Mistral": ("[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]", "[INST]{}[/INST]", "{}</s>", ""),
    "Phi": (
        "<|system|>\n{}<|end|>\n",
        "<|user|>\n{}<|end|>\n",
        "<|assistant|>\n{}<|end|>\n",
        "<|assistant|>\n",
    ),
    "labels": ("System: {}\n", "User: {}\n", "Assistant: {}\n", "Assistant:"),
}


def chat(*turns: str, system: str = "", answer: str = "", template: str = "ChatML") -> str:
    """A dialogue of who asks and who answers by turns, open where the next answer begins."""
    sets_up, asks, answers, opening = TEMPLATES[template]
    said = [(answers if at % 2 else asks).format(turn) for at, turn in enumerate(turns)]
    return (sets_up.format(system) if system else "") + "".join(said) + opening + answer


def read(text: str) -> list[Question]:
    """The readings of a text, but for those of statements."""
    whole = [one for one in mentions(text, FACTS) if one.within is None]
    return [one for one in questions(text, whole) if one.kind != "statement"]


def asked(text: str) -> list[str]:
    """What a text asks where it ends, one entry a question: the likeliest reading, with the name
    behind a bar."""
    first: dict[int, str] = {}
    for one in read(text):
        name = text[one.mention.start : one.mention.end]
        first.setdefault(one.order, f"{one.text} | {name}")
    return [first[order] for order in sorted(first)]


def names(text: str) -> set[str]:
    """The names of which a text may ask where it ends."""
    return {text[one.mention.start : one.mention.end] for one in read(text)}
