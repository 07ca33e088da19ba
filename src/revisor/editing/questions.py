"""Telling apart the facts of one subject: entries at the end of what is asked.

What comes in: the facts of subjects that have several. What goes out: for each fact the encoded
keys at the last token of its prompt, each with a threshold. What it does not do: the residual
(values.py), or facts that are their subject's only one (build.py keys those at the name).

A key at the subject cannot see which of its facts is asked for; a key at the end of the prompt can.
Thresholds come from prompts that must not match: the same subject asked for other things, and other
subjects asked for the same. The prompt itself, its paraphrases, and the prompt in a chat have an
entry each; one is the mean over prefixed contexts, one over contexts with a long preamble.

Shapes: C entries of a fact, E width of an encoded key, F key width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from revisor import data
from revisor.bank.encode import KeyEncoder
from revisor.editing.keys import compute_keys, tail_keys
from revisor.editing.relations import SAME
from revisor.editing.request import (
    Context,
    ContextPlan,
    Request,
    chat_context,
    choose_prefixes,
    text_context,
)
from revisor.facts.fact import PLACEHOLDER, Fact, normal_form
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec

AVERAGED = 4  # prefixed contexts of the averaged entry
FAR = 12  # sentences before the prompt in each of the two texts of the far entry
CHATS = 6  # other questions that are also asked in a chat
STRANGERS = 6  # other subjects that a fact's own prompt is asked of
FLOOR = 0.5  # no threshold is lower
CEILING = 0.9995  # or higher: an entry is to match the very text it was taken from
OTHER_QUESTION = 0.3  # how far from the nearest other question to 1 the threshold lies
OTHER_SUBJECT = 0.1  # how far from the nearest other subject
OTHER_RELATION = 0.1  # the same of entries that are compared by what is asked alone
RELATION_FLOOR = 0.6  # and the lowest threshold of those
REACH_MARGIN = 0.1  # below the worst of an entry's own texts: other subjects come second


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How one fact is found among its subject's.

    Attributes:
        keys_CE: encoded keys.
        gamma_C: their thresholds.
    """

    keys_CE: torch.Tensor
    gamma_C: torch.Tensor


def at_end(request: Request) -> Request:
    """The same request with its contexts' positions at the last token of what is asked."""
    contexts = tuple(replace(c, position=len(c.ids) - 1) for c in request.contexts)
    return Request(fact=request.fact, contexts=contexts)


def asked_entries(
    loaded: LoadedModel,
    spec: Spec,
    layer: int,
    encoder: KeyEncoder,
    facts: Sequence[Fact],
    plan: ContextPlan,
) -> list[Asked]:
    """The entries of facts that share their subject with others."""
    sheet = _Sheet()
    for fact in facts:
        _write(sheet, fact, loaded, plan)
    if not sheet.contexts:
        return []
    keys_NF = compute_keys(loaded.model, spec, layer, sheet.contexts).float()
    others = {
        subject: list(
            zip(
                (template for template, _ in asked),
                tail_keys(loaded.model, spec, layer, [context for _, context in asked]),
                strict=True,
            )
        )
        for subject, asked in sheet.questions.items()
    }
    found = []
    for fact in facts:
        groups = sheet.entries[fact.id]
        means_CF = torch.stack([keys_NF[group].mean(0) for group in groups])
        keys_CE = encoder.whole(means_CF)
        others_QE = _others(encoder, fact, means_CF, others[normal_form(fact.subject)])
        strange_QE = encoder.encode(keys_NF[sheet.strangers[fact.id]])
        gamma_C = torch.maximum(
            _above((keys_CE @ others_QE.T).amax(1), OTHER_QUESTION).clamp(min=FLOOR),
            torch.minimum(
                _above((keys_CE @ strange_QE.T).amax(1), OTHER_SUBJECT),
                torch.tensor([_reach(encoder, keys_NF[group]) for group in groups]),
            ),
        )
        if encoder.knows_asked:
            asked_CE = encoder.asked(means_CF)
            above_C = _above((asked_CE @ others_QE.T).amax(1), OTHER_RELATION)
            keys_CE = torch.cat([keys_CE, asked_CE])
            gamma_C = torch.cat([gamma_C, above_C.clamp(min=RELATION_FLOOR)])
        found.append(Asked(keys_CE=keys_CE, gamma_C=gamma_C.clamp(max=CEILING)))
    return found


def _others(
    encoder: KeyEncoder,
    fact: Fact,
    means_CF: torch.Tensor,
    questions: Sequence[tuple[str, torch.Tensor]],
) -> torch.Tensor:
    """Encoded keys of all tokens of the questions that ask for something else: (Q, E)."""
    mine = {fact.prompt, *fact.paraphrases}
    asked = [keys for said, keys in questions if said not in mine]
    if encoder.knows_asked:
        ends_QE = encoder.encode(torch.stack([keys[-1] for keys in asked]))
        same_Q = (encoder.asked(means_CF) @ ends_QE.T).amax(0) >= SAME
        asked = [keys for keys, same in zip(asked, same_Q.tolist(), strict=True) if not same]
    if not asked:
        return torch.zeros(1, encoder.width(means_CF.shape[1]))
    return encoder.encode(torch.cat(asked))


def _above(nearest_C: torch.Tensor, margin: float) -> torch.Tensor:
    """A threshold that share of the way from the nearest wrong key to 1."""
    return nearest_C + margin * (1 - nearest_C)


def _reach(encoder: KeyEncoder, keys_GF: torch.Tensor) -> float:
    """What the mean of all but one of an entry's texts has in common with that one, at worst.

    An entry of one text is to match that text: 1.
    """
    if len(keys_GF) == 1:
        return 1.0
    rest_GF = (keys_GF.sum(0) - keys_GF) / (len(keys_GF) - 1)
    return float((encoder.encode(rest_GF) * encoder.encode(keys_GF)).sum(1).min()) - REACH_MARGIN


class _Sheet:
    """All texts whose keys are needed, and who needs which."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.entries: dict[str, list[list[int]]] = {}
        self.questions: dict[str, list[tuple[str, Context]]] = {}
        self.strangers: dict[str, list[int]] = {}

    def add(self, contexts: Sequence[Context]) -> list[int]:
        start = len(self.contexts)
        self.contexts += [replace(c, position=len(c.ids) - 1) for c in contexts]
        return list(range(start, len(self.contexts)))


def _write(sheet: _Sheet, fact: Fact, loaded: LoadedModel, plan: ContextPlan) -> None:
    tokenizer = loaded.tokenizer
    chat = plan.chat and bool(getattr(tokenizer, "chat_template", None))

    def plain(template: str, name: str) -> Context:
        return text_context(tokenizer, template, name, "", "key")

    own = [[plain(fact.prompt, fact.subject)]]
    chosen = choose_prefixes(fact, plan.prefixes, AVERAGED + 1)
    if chosen:
        own.append([plain(f"{prefix} {fact.prompt}", fact.subject) for prefix in chosen[:AVERAGED]])
    if len(plan.prefixes) > FAR:
        turned = choose_prefixes(fact, plan.prefixes, len(plan.prefixes))
        far = [" ".join(turned[start : start + FAR]) for start in (0, len(turned) - FAR)]
        own.append([plain(f"{before} {fact.prompt}", fact.subject) for before in far])
    if chat:
        own.append([chat_context(tokenizer, fact.prompt, fact.subject, "")])
    own += [
        [plain(wording, fact.subject)]
        for wording in fact.paraphrases[: plan.wordings]
        if PLACEHOLDER in wording or fact.subject in wording
    ]
    sheet.entries[fact.id] = [sheet.add(group) for group in own]
    subject = normal_form(fact.subject)
    if subject not in sheet.questions:
        others = [wordings[0] for wordings in data.relations()]
        asked = [(other, plain(other, fact.subject)) for other in others]
        if chat:
            asked += [
                (other, chat_context(tokenizer, other, fact.subject, ""))
                for other in others[:: len(others) // CHATS]
            ]
        sheet.questions[subject] = asked
    names = [name for name in _names() if normal_form(name) != subject]
    some = choose_prefixes(fact, names, STRANGERS)
    away = [plain(fact.prompt, name) for name in some]
    if chosen:
        away += [plain(f"{chosen[-1]} {fact.prompt}", name) for name in some]
    if chat:
        away += [chat_context(tokenizer, fact.prompt, name, "") for name in some[: STRANGERS // 2]]
    sheet.strangers[fact.id] = sheet.add(away)


def _names() -> list[str]:
    return [record["subject"] for record in data.records("probe.jsonl")]
