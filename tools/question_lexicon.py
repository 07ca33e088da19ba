"""The lexicon of relations: wordings that ask the same, and texts that only look like them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "questions"
ENGLISH = (
    "people",
    "companies",
    "products",
    "software",
    "works",
    "places",
    "events",
    "science",
    "everyday",
    "office",
    "world",
    "goingout",
    "culture",
)
OTHERS = ("german", "french", "spanish", "chinese")
PROSE = ("people", "works", "places")


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A relation in one language.

    Attributes:
        name: the same in all languages.
        subject, answer: kinds of what is named and of what answers.
        property: of Wikidata, "-" if there is none.
        wordings: all ask for the same; `{}` stands for the name.
        near: look like wordings and ask for something else.
        language: "english", "german" ...
    """

    name: str
    subject: str
    answer: str
    property: str
    wordings: tuple[str, ...]
    near: tuple[str, ...]
    language: str


def read(part: str) -> list[Relation]:
    """The relations of one file of the folder, in its order.

    Raises:
        ValueError: a line that is no head, wording or near miss.
    """
    language = part if part in OTHERS else "english"
    blocks: list[tuple[list[str], list[str], list[str]]] = []
    for number, line in enumerate((FOLDER / f"{part}.txt").read_text("utf-8").splitlines(), 1):
        line = line.strip()
        if line.startswith("# "):
            head = [field.strip() for field in line[2:].split("|")]
            if len(head) != 4:
                raise ValueError(f"{part}.txt:{number}: a head has four parts")
            blocks.append((head, [], []))
        elif line:
            is_near = line.startswith("- ")
            text = line[2:] if is_near else line
            if not blocks or text.count("{}") != 1:
                raise ValueError(f"{part}.txt:{number}: {{}} has to stand once, below a head")
            blocks[-1][2 if is_near else 1].append(text)
    return [
        Relation(
            name=head[0],
            subject=head[1],
            answer=head[2],
            property=head[3],
            wordings=tuple(wordings),
            near=tuple(near),
            language=language,
        )
        for head, wordings, near in blocks
    ]


def english() -> list[Relation]:
    """All English relations."""
    return [relation for part in ENGLISH for relation in read(part)]


def others(languages: Sequence[str] = OTHERS) -> list[Relation]:
    """The relations of other languages, each by the name of the English one."""
    return [relation for part in languages for relation in read(part)]


def prose() -> list[str]:
    """Running text about `{}`, cut off where it asks for nothing of it.

    Raises:
        ValueError: a line without `{}`, or without a cut behind it.
    """
    found = []
    for part in PROSE:
        file = FOLDER / f"prose_{part}.txt"
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            whole, *cuts = line.split("|")
            if line.count("{}") != 1 or "{}" not in whole or not cuts:
                raise ValueError(f"{file.name}:{number}: {{}} has to stand once, a cut behind it")
            for cut in cuts:
                found.append(" ".join(whole.split()))
                whole += cut
    return found
