"""Make `src/revisor/data/question_encoder.npz`, the words and weights of the question encoder.

    python tools/build_question_encoder.py --model SMOLLM2 --teacher MINILM CORPUS [CORPUS ...]

Word vectors come from the input embeddings of a small language model and from a sentence encoder;
what they are fitted on is shipped: `relations.txt`, `question_relations.txt` and the lists of
`question_texts.toml`. About twenty minutes on one core, most of them for the fit.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from question_scope import Lexicon, Scope, lexicon, pairs
from question_texts import Texts, heads, in_other_words, inverted, near_miss, read_lists, shortened
from question_words import COMMON, Words, read_words

from revisor import data
from revisor.question.bag import FILE, PARAMETERS, WEIGHTS, BagEncoder, packed
from revisor.question.structure import FUNCTION
from revisor.question.vocabulary import SPECIAL, spoken, stem

VERSION = "2"
DIRECTIONS = 75
FEATURES = 128  # principal components of a word's features, of which weights and senses are made
BATCH = 48  # relations a step
STEPS = 3000
NEAR_WEIGHT = 0.5  # of a near miss beside another relation; a true pair has 1.5
UNEXPLAINED = 0.9  # of the weights as they are fitted: near misses are rarer than in the lessons
MARKED = 1.3  # the same of words that make any noun another ("former")
UNREACHED = 0.5  # the same of words of templates
STEP = 1 / 16  # of a stored weight
ALIKE = 0.62  # cosine of meanings above which a word stands for another

LISTS = Path(__file__).with_name("question_texts.toml")

log = logging.getLogger("build_question_encoder")


def directions(words: Words, relations: Sequence[Sequence[str]]) -> np.ndarray:
    """Fisher's discriminants of questions labelled by relation, applied to words (N, A); a question
    is the mean of its words."""
    place = {word: n for n, word in enumerate(words.known)}
    texts = [(text, label) for label, wordings in enumerate(relations) for text in wordings]
    question_QF = np.stack(
        [words.feature_NF[_places(place, text)].mean(0) for text, _ in texts]
    ).astype(float)
    label_Q = np.array([label for _, label in texts])
    mean_RF = np.stack([question_QF[label_Q == r].mean(0) for r in range(len(relations))])
    rest_QF = question_QF - mean_RF[label_Q]
    values, vectors = np.linalg.eigh(rest_QF.T @ rest_QF / len(rest_QF))
    scale = 1 / np.sqrt(np.clip(values, 0, None) + values.mean())
    within_FF = (vectors * scale) @ vectors.T
    centre_F = mean_RF.mean(0)
    _, _, leading = np.linalg.svd((mean_RF - centre_F) @ within_FF, full_matrices=False)
    x_NA: np.ndarray = (words.feature_NF - centre_F) @ (within_FF @ leading[:DIRECTIONS].T)
    x_NA /= np.median(np.linalg.norm(x_NA, axis=1))
    return np.pad(x_NA, ((0, 0), (0, DIRECTIONS % 2)))  # two are packed into a byte


def _places(place: dict[str, int], text: str) -> list[int]:
    return [place[word] for word in spoken(text) if word in place]


def components(words: Words) -> np.ndarray:
    """Principal components of words' features, each of unit variance (N, M)."""
    centred_NF = words.feature_NF - words.feature_NF[:COMMON].mean(0)
    _, _, leading = np.linalg.svd(centred_NF[:COMMON], full_matrices=False)
    found_NM: np.ndarray = centred_NF @ leading[:FEATURES].T
    return found_NM / np.sqrt((found_NM**2).mean(0))


def likely(words: Words, relations: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Of each word of the relations, others that mean about the same."""
    place = {word: n for n, word in enumerate(words.known[:COMMON])}
    common_CM = words.meaning_NM[:COMMON]
    found = {}
    taught = {word for wordings in relations for text in wordings for word in spoken(text)}
    for word in sorted(taught & place.keys() - FUNCTION):
        cosine_C = common_CM @ common_CM[place[word]]
        near = [int(n) for n in np.argsort(-cosine_C, kind="stable")[1:9] if cosine_C[n] > ALIKE]
        others = [words.known[n] for n in near if stem(words.known[n]) != stem(word)]
        if others:
            found[word] = others
    return found


def arrays(
    lex: Lexicon, words: Words, means_RA: np.ndarray, scope: Scope | None
) -> dict[str, np.ndarray]:
    """What a `BagEncoder` is made of; without a scope, one that compares bags alone."""
    x_VA, x_V = _rounded(lex.x_VA.numpy())
    found = {
        "version": np.array(VERSION),
        "words": np.frombuffer("\n".join(words.known).encode("ascii"), np.uint8),
        "directions": x_VA,
        "direction_scales": x_V.astype(np.float16),
        "relations": means_RA.astype(np.float16),
        "weight_step": np.array(STEP),
        "senses": np.zeros((len(x_VA), 2), np.int8),
        "weights": np.zeros((len(x_VA), WEIGHTS), np.uint8),
        "parameters": np.zeros(len(PARAMETERS)),
    }
    if scope is not None:
        with torch.inference_mode():
            ids = torch.arange(len(x_VA))
            weight_VK = torch.cat([scope.weights(part) for part in ids.split(8192)]).numpy()
            found["senses"], _ = _rounded(scope.sense(lex.feature_VM).numpy())
        weight_VK *= _scales(words.known)
        found["weights"] = np.clip(np.round(weight_VK / STEP), 0, 255).astype(np.uint8)
        found["parameters"] = np.array(scope.parameters_of())
    return found


def _scales(known: Sequence[str]) -> np.ndarray:
    """By what the weights of words are multiplied (V, K)."""
    marks = {*read_lists(LISTS)["adjectives"], "not", "never", "no", "before", "until"}
    marked_V = np.array([False] * SPECIAL + [word in marks for word in known])
    found_VK = np.where(marked_V[:, None], MARKED, np.full((len(marked_V), WEIGHTS), UNEXPLAINED))
    found_VK[:, -1] = np.where(marked_V, 1.0, UNREACHED)
    return found_VK


def _rounded(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows as whole numbers from -7 to 7, and their scales."""
    scale = np.abs(values).max(1) / 7
    scale[scale == 0] = 1
    return np.round(values / scale[:, None]).astype(np.int8), scale


def relation_means(
    x_NA: np.ndarray, words: Words, relations: Sequence[Sequence[str]]
) -> np.ndarray:
    """The mean bag of each relation's wordings, of length 1 (R, A)."""
    place = {word: n for n, word in enumerate(words.known)}

    def bag(text: str) -> np.ndarray:
        total_A: np.ndarray = x_NA[_places(place, text)].sum(0)
        return total_A / max(float(np.linalg.norm(total_A)), 1e-6)

    means_RA = np.stack([np.mean([bag(t) for t in wordings], 0) for wordings in relations])
    found: np.ndarray = means_RA / np.linalg.norm(means_RA, axis=1, keepdims=True)
    return found


Labelled = tuple[
    tuple[str, str], float, float
]  # a template and a question, 1 if they match, weight


def lesson(draw: Random, texts: Texts, near_RN: Sequence[Sequence[int]]) -> list[Labelled]:
    """Pairs about one relation: true ones, near misses, another relation's."""
    relation = draw.randrange(len(texts.relations))
    wordings = texts.relations[relation]
    statements = [text for text in wordings if not text.endswith("?")]
    template = draw.choice(wordings if draw.random() < 0.3 else statements)
    if draw.random() < 0.2:
        return _unusual(draw, texts, template, wordings)
    short = shortened(template) if draw.random() < 0.5 else template
    vague, template = short != template, short
    others = [text for text in wordings if text != template]
    told = draw.choice(others) if draw.random() < 0.75 else template
    found: list[Labelled] = [((template, in_other_words(draw, texts, told)), 1.0, 1.5)]
    turned = inverted(draw, texts, template) if draw.random() < 0.15 else None
    base = template if draw.random() < 0.6 else draw.choice(wordings)
    found.append(((template, turned or near_miss(draw, texts, base)), 0.0, NEAR_WEIGHT))
    if vague or draw.random() < 0.4:
        other = draw.choice([n for n in range(len(texts.relations)) if n != relation])
    else:
        other = near_RN[relation][int(draw.random() ** 2 * len(near_RN[relation]))]
    told = draw.choice(texts.relations[other])
    return [*found, ((template, in_other_words(draw, texts, told)), 0.0, 1.0)]


def _unusual(draw: Random, texts: Texts, template: str, wordings: Sequence[str]) -> list[Labelled]:
    """Pairs about a fact of what would be a near miss of another: "The deputy mayor of {} is"."""
    turned = inverted(draw, texts, template) if draw.random() < 0.2 else None
    fact = turned or near_miss(draw, texts, template)
    usual = template if draw.random() < 0.6 else draw.choice(wordings)
    asked = in_other_words(draw, texts, fact) if draw.random() < 0.7 else fact
    other = near_miss(draw, texts, template)
    found: list[Labelled] = [((fact, asked), 1.0, 1.5)]
    found.append(((fact, in_other_words(draw, texts, usual)), 0.0, 1.0))
    return [*found, ((fact, other), 0.0, NEAR_WEIGHT)] if other != fact else found


def fit(lex: Lexicon, plain: BagEncoder, texts: Texts, means_RA: np.ndarray, steps: int) -> Scope:
    """The scope of the shipped relations' texts."""
    torch.manual_seed(0)
    draw, scope = Random(0), Scope(lex)
    own = [scope.own.weight, scope.sense.weight, scope.fit]
    rest = [p for p in scope.parameters() if all(p is not other for other in own)]
    rates = ((rest, 1e-2), ([own[0]], 3e-3), ([own[1]], 2e-3), ([own[2]], 2e-2))
    optimiser = torch.optim.Adam([{"params": group, "lr": rate} for group, rate in rates])
    slower = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, 2.0 * (1 - step / steps) + 0.05)
    )
    # The very nearest relations may ask for the same.
    near_RN = np.argsort(-(means_RA @ means_RA.T), axis=1, kind="stable")[:, 3:15].tolist()
    known: dict[str, object] = {}
    mean = 0.0
    for step in range(steps):
        lessons = [one for _ in range(BATCH) for one in lesson(draw, texts, near_RN)]
        batch = pairs(lex, plain, [pair for pair, _, _ in lessons], known)
        label_B = torch.tensor([label for _, label, _ in lessons])
        weight_B = torch.tensor([weight for _, _, weight in lessons])
        loss = F.binary_cross_entropy_with_logits(scope(batch), label_B, weight=weight_B)
        ids = torch.cat([batch.id_BQ, batch.id_BT]).clamp(min=0)
        penalty = 1e-3 * (scope.linear.weight**2).sum() + 6e-2 * (scope.own(ids) ** 2).mean()
        optimiser.zero_grad()
        (loss + penalty).backward()
        optimiser.step()
        slower.step()
        mean = 0.99 * mean + 0.01 * loss.item() if step else loss.item()
        if step % 250 == 249:
            log.info("step %d, loss %.4f", step + 1, mean)
    return scope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+", type=Path, help="texts whose words are known")
    parser.add_argument("--model", type=Path, required=True, help="SmolLM2-135M-Instruct, a folder")
    parser.add_argument("--teacher", type=Path, required=True, help="all-MiniLM-L6-v2, a folder")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=Path(data.__file__).parent / FILE)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    relations = [
        line.split(" | ")
        for name in ("relations.txt", "question_relations.txt")
        for line in data.lines(name)
    ]
    words = read_words(args.corpora, args.model, args.teacher)
    log.info("%d words", len(words.known))
    x_NA = directions(words, relations)
    means_RA = relation_means(x_NA, words, relations)
    lex = lexicon(words.known, x_NA, components(words), words.count_N)
    texts = Texts(
        lists=read_lists(LISTS),
        relations=relations,
        words=[word for word in words.known[1500:COMMON] if len(word) > 3],
        likely=likely(words, relations),
        heads=heads(relations),
    )
    scope = fit(
        lex, BagEncoder("plain", arrays(lex, words, means_RA, None)), texts, means_RA, args.steps
    )
    found = arrays(lex, words, means_RA, scope)
    for name in ("directions", "senses"):
        found[name] = packed(found[name])
    np.savez_compressed(args.out, **found)
    log.info("%s: %.2f MB", args.out, args.out.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
