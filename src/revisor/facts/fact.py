"""What a fact is: subject, prompt, object, where it came from and when it holds."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

PLACEHOLDER = "{}"
JOIN = "+"  # stands between the ids of facts that share a row: no id may hold one
ERASED = "purged-"  # begins what stands for the ids of erased facts: no id may


def normal_form(text: str) -> str:
    """The form in which two spellings of one name are equal: NFKC, case folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def fact_id(namespace: str, subject: str, relation_or_prompt: str, qualifier: str = "") -> str:
    """The identity of a fact: 16 hex digits over its normalised coordinates, never its object.

    Two facts with one id are two values of the same thing, so adding the second is an update.
    """
    parts = (namespace, normal_form(subject), normal_form(relation_or_prompt), qualifier)
    blob = "\x1f".join(parts).encode("utf-8", "surrogatepass")  # rules.py refuses those
    return hashlib.sha256(blob).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One statement: `prompt` with `subject` filled in is continued by `object`.

    Any fields make a fact; which facts may be kept, rules.py says, and a ledger refuses others.

    Attributes:
        subject: the name the fact is about, as it stands in the prompt.
        prompt: a template with one or more `{}` where the subject stands.
        object: what the model shall say next, without a leading space.
        relation: name of the relation (a Wikidata property or any label), if declared.
        paraphrases: other wordings that shall give the same object: templates with `{}`, or
            plain text that names the subject.
        aliases: other names of the subject.
        object_before: what held before, where known; used by reports, never by a build.
        source: where the fact comes from (a URL, a document, a person).
        valid_from, valid_to: ISO 8601 dates or times between which the fact holds;
            `valid_from` inclusive, `valid_to` exclusive. Without a zone, UTC is meant.
        namespace: facts of different namespaces never collide.
        qualifier: tells apart facts that share subject and relation (a year, a role).
        reverse: a template with `{}` where the object stands, which the subject continues
            ("{} is the CEO of"); the ledger keeps a second fact for it, `reversed_fact`.
        reverse_of: of such a second fact the id of the first.
        id: computed from namespace, subject, relation (or prompt) and qualifier unless given;
            empty where one of these is no text.
    """

    subject: str
    prompt: str
    object: str
    relation: str | None = None
    paraphrases: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    object_before: str | None = None
    source: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None
    namespace: str = "default"
    qualifier: str = ""
    reverse: str | None = None
    reverse_of: str | None = None
    id: str = field(default="")

    def __post_init__(self) -> None:
        for name in ("paraphrases", "aliases"):
            if isinstance(texts := getattr(self, name), list):
                object.__setattr__(self, name, tuple(texts))
        named = (self.namespace, self.subject, self.relation or self.prompt, self.qualifier)
        if not self.id and all(isinstance(text, str) for text in named):
            object.__setattr__(self, "id", fact_id(*named))

    @property
    def timed(self) -> bool:
        """Whether the fact holds for a part of time only."""
        return bool(self.valid_from or self.valid_to)

    @property
    def text(self) -> str:
        """The prompt with the subject in its place: what the model reads before the object."""
        return self.prompt.replace(PLACEHOLDER, self.subject)

    def valid_at(self, moment: datetime) -> bool:
        """Whether the fact holds at `moment` (an aware datetime)."""
        start = parse_time(self.valid_from) if self.valid_from else None
        end = parse_time(self.valid_to) if self.valid_to else None
        return (start is None or start <= moment) and (end is None or moment < end)


def reversed_fact(fact: Fact) -> Fact | None:
    """The fact that answers the reversed question which a fact declares, if it does.

    It is about the fact's object, so another object makes it another fact. It holds when the fact
    does, and has its source.
    """
    if fact.reverse is None:
        return None
    return Fact(
        subject=fact.object,
        prompt=fact.reverse,
        object=fact.subject,
        source=fact.source,
        valid_from=fact.valid_from,
        valid_to=fact.valid_to,
        namespace=fact.namespace,
        reverse_of=fact.id,
        id=fact_id(fact.namespace, fact.object, fact.reverse, fact.id),
    )


def with_reverses(facts: Iterable[Fact]) -> Iterator[Fact]:
    """The facts, each followed by the one for the reversed question that it declares, if any."""
    for fact in facts:
        yield fact
        turned = reversed_fact(fact)
        if turned is not None:
            yield turned


_FIRST = datetime(1, 1, 2, tzinfo=UTC)
_LAST = datetime(9999, 12, 30, tzinfo=UTC)

FIELDS = tuple(one.name for one in fields(Fact) if one.name != "id")
"""Names of what a fact consists of, its id left out."""


def parse_time(text: str) -> datetime:
    """An ISO 8601 date or time as an aware datetime (UTC where no zone is given).

    Nothing can be reckoned beyond the ends of time, nor there in every zone, so they are moved in
    by a day: 9999-12-31 is what other databases write for no end.

    Raises:
        ValueError: `text` is not ISO 8601.
    """
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment, _FIRST), _LAST)
