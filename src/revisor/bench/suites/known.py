"""Real facts with their templates, and counterfactual objects for them.

The new objects are drawn by seed from the other objects of the same relation, as CounterFact's
and zsRE's were.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from revisor.bench.cases import Item, Keep
from revisor.bench.datasets import Source
from revisor.facts.fact import Fact, normal_form

FILES = ("entityquestions", "kamel")
SLOT = "[X]"


@dataclass(frozen=True, kw_only=True)
class Known:
    """A real fact: the object `o` of subject `s`, and other names of it."""

    subject: str
    relation: str
    object: str
    aliases: tuple[str, ...]


class KnownFacts:
    """All facts, by subject and relation, of the `files` whose relations have a template."""

    def __init__(self, source: Source, seed: int, files: tuple[str, ...] = FILES) -> None:
        self.seed = seed
        self.facts: dict[str, dict[str, Known]] = defaultdict(dict)
        self._prompts: dict[str, tuple[str, ...]] = {}
        objects: dict[str, set[str]] = defaultdict(set)
        templates = source.json("facts/relation_templates.json")
        for name in files:
            for relation, forms in templates[name].items():
                if found := wordings(forms):
                    self._prompts[f"{name}/{relation}"] = found
            for record in source.records(f"facts/{name}.jsonl.gz"):
                relation = f"{name}/{record['r']}"
                if relation not in self._prompts:
                    continue
                objects[relation].add(record["o"])
                self.facts[record["s"]][relation] = Known(
                    subject=record["s"],
                    relation=relation,
                    object=record["o"],
                    aliases=tuple(record.get("a") or ()),
                )
        self._pools = {relation: sorted(values) for relation, values in objects.items()}

    def order(self, text: str) -> bytes:
        """A key that shuffles: the files are sorted by relation."""
        return hashlib.sha256(f"{self.seed}|{text}".encode()).digest()

    def item(self, fact: Known) -> Item:
        """The fact with another object of its relation, and up to two other wordings."""
        forms, pool = self._prompts[fact.relation], self._pools[fact.relation]
        taken = {normal_form(name) for name in (fact.object, *fact.aliases)}
        choices = [name for name in pool if normal_form(name) not in taken] or ["nobody knows"]
        generator = random.Random(f"{self.seed}|{fact.subject}|{fact.relation}")
        made = Fact(
            subject=fact.subject,
            prompt=forms[0].replace(SLOT, "{}"),
            object=generator.choice(choices),
            relation=fact.relation,
            object_before=fact.object,
        )
        others = tuple(text.replace(SLOT, fact.subject) for text in forms[1:3])
        return Item(fact=made, wordings=others)

    def keep(self, fact: Known) -> Keep:
        """The fact's prompt, to be answered as before."""
        prompt = self._prompts[fact.relation][0].replace(SLOT, fact.subject)
        return Keep(prompt=prompt, subject=fact.subject)


def wordings(forms: Mapping[str, Any]) -> tuple[str, ...]:
    """The wordings of a relation, statements to complete before questions; none for numbers."""
    if forms.get("numeric"):
        return ()
    here = forms.get("written_here", {})
    statements = [*here.get("cloze", ()), *forms.get("pararel_cloze", ())[:2]]
    questions = [forms.get("source_question"), *here.get("questions", ())]
    found = [text for text in (*statements, *questions) if text and text.count(SLOT) == 1]
    return tuple(dict.fromkeys(found))
