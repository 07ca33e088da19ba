"""What words a question encoder knows, and what two small models make of each."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from revisor import data
from revisor.language.words import fold
from revisor.question.vocabulary import spoken

SEEN = 3  # times that a word of the corpora must occur
COMMON = 20_000  # the most frequent words, by which means and directions are taken
LONGEST = 20  # letters
_WORD = re.compile(r"[^\W\d_]+")
_PLAIN = re.compile(rf"[a-z]{{1,{LONGEST}}}")


@dataclass(frozen=True, kw_only=True)
class Words:
    """Words, the most frequent first.

    Attributes:
        known: folded.
        count_N: how often each occurs in the corpora.
        feature_NF: embeddings of both models beside each other, of equal weight but for `SHARE`.
        meaning_NM: the sentence encoder's alone, of length 1.
    """

    known: Sequence[str]
    count_N: np.ndarray
    feature_NF: np.ndarray
    meaning_NM: np.ndarray


SHARE = 0.5  # weight of the sentence encoder's features beside the language model's


def read_words(corpora: Sequence[Path], model: Path, teacher: Path) -> Words:
    """The words of some corpora, of both vocabularies and of the shipped relations.

    Args:
        corpora: text files, plain or gzip.
        model: a folder with a language model whose input embeddings are used.
        teacher: a folder with a sentence encoder (mean pooling).
    """
    counts: Counter[str] = Counter()
    for path in corpora:
        open_file = gzip.open if path.suffix == ".gz" else open
        with open_file(path, "rt", encoding="utf-8") as file:
            counts.update(_WORD.findall(fold(file.read())))
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (model, teacher)]
    pieces = {fold(piece.lstrip("\u0120")) for tok in tokenizers for piece in tok.get_vocab()}
    relations = (*data.lines("relations.txt"), *data.lines("question_relations.txt"))
    taught = {word for line in relations for word in spoken(line)}
    counts.update(dict.fromkeys(taught, 100))
    found = {word for word, count in counts.items() if count >= SEEN} | pieces
    found = {word for word in found if _PLAIN.fullmatch(word)}
    known = sorted(found, key=lambda word: (-counts[word], word))
    embedded = _input_embeddings(model, tokenizers[0], known)
    meaning = _sentences(teacher, tokenizers[1], known)
    centred = meaning - meaning[:COMMON].mean(0)
    parts = [part / np.sqrt((part**2).sum(1).mean()) for part in (embedded, centred)]
    return Words(
        known=known,
        count_N=np.array([counts[word] for word in known], float),
        feature_NF=np.concatenate([parts[0], SHARE * parts[1]], 1).astype(np.float32),
        meaning_NM=meaning,
    )


def _input_embeddings(folder: Path, tokenizer: object, known: Sequence[str]) -> np.ndarray:
    """The sum of a model's input embeddings of the tokens of each word behind a space."""
    model = AutoModel.from_pretrained(folder)
    table_VD = model.get_input_embeddings().weight.detach().float().numpy()
    ids = tokenizer([f" {word}" for word in known], add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return np.stack([table_VD[one].sum(0) for one in ids])


def _sentences(folder: Path, tokenizer: object, texts: Sequence[str]) -> np.ndarray:
    """What a sentence encoder makes of each text: the mean of its last layer, of length 1."""
    model = AutoModel.from_pretrained(folder).eval()
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))  # little padding
    found = np.zeros((len(texts), model.config.hidden_size), np.float32)
    for start in range(0, len(texts), 256):
        places = order[start : start + 256]
        batch = tokenizer([texts[n] for n in places], return_tensors="pt", padding=True)  # type: ignore[operator]
        with torch.inference_mode():
            hidden_BTD = model(**batch).last_hidden_state
        mask_BT1 = batch["attention_mask"][..., None]
        mean_BD = (hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
        found[places] = torch.nn.functional.normalize(mean_BD, dim=-1).numpy()
    return found
