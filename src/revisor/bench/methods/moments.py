"""Second moments of background keys: C = mean of k kᵀ over the tokens of a real corpus.

The corpus is that of a data folder (Wikipedia sentences, else WikiText-2's validation split), or
the text that ships with the package. MEMIT and its kin take Wikipedia. A corpus with fewer tokens
than F leaves C singular, which a log warning says.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from revisor import data
from revisor.bench.methods.binding import Binding
from revisor.models.hooks import inputs_of
from revisor.models.load import fingerprint
from revisor.models.measured import cached, write_cached
from revisor.models.padding import in_batches, padded
from revisor.neuraldb.editing.keys import BATCH_TOKENS
from revisor.progress import Progress

VERSION = 1
TOKENS = 100_000  # background tokens that are read, where the corpus has them
LONGEST = 128  # tokens of a line
CORPORA = ("corpus/trex_wikipedia_sentences.txt.gz", "corpus/wikitext2_raw_valid.txt.gz")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Text that no fact is about: a gzip of lines, or, without a path, the shipped text. The name,
    for the cache, changes with the text."""

    name: str
    path: Path | None = None

    def lines(self) -> Iterator[str]:
        """Its lines, empty ones left out."""
        if self.path is None:
            yield from data.background()
            return
        with gzip.open(self.path, "rt", encoding="utf-8") as stream:
            yield from (line.strip() for line in stream if line.strip())


def corpus_of(data_dir: Path | None) -> Corpus:
    """The corpus of a data folder, or the shipped one."""
    for name in CORPORA if data_dir else ():
        path = Path(str(data_dir)) / name
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
            return Corpus(name=f"{path.name.split('.')[0]}-{digest}", path=path)
    digest = hashlib.sha256("\n".join(data.background()).encode()).hexdigest()[:8]
    return Corpus(name=f"shipped-{digest}")


def second_moments(
    binding: Binding, layers: Sequence[int], *, tokens: int = TOKENS
) -> dict[int, torch.Tensor]:
    """C of each layer's FFN output projection: (F, F), fp32, on the CPU; measured once on at most
    so many tokens of the unedited model, then cached."""
    corpus = corpus_of(binding.data_dir)
    paths = {layer: _path(binding, corpus, layer, tokens) for layer in layers}
    missing = [layer for layer in layers if not paths[layer].exists()]
    if missing:
        for layer, C_FF in _measure(binding, corpus, missing, tokens).items():
            write_cached(paths[layer], {"moment": C_FF.contiguous()})
    return {layer: load_file(paths[layer])["moment"] for layer in layers}


def _path(binding: Binding, corpus: Corpus, layer: int, tokens: int) -> Path:
    mark = fingerprint(binding.loaded, layer=layer)
    return cached("moments", f"{mark}-{corpus.name}-{tokens}-v{VERSION}")


def _texts(binding: Binding, corpus: Corpus, tokens: int) -> list[list[int]]:
    texts: list[list[int]] = []
    left = tokens
    for line in corpus.lines():
        ids = list(binding.loaded.tokenizer(line)["input_ids"])[: min(LONGEST, left)]
        if ids:
            texts.append(ids)
            left -= len(ids)
        if left <= 0:
            break
    return texts


@torch.no_grad()
def _measure(
    binding: Binding, corpus: Corpus, layers: Sequence[int], tokens: int
) -> dict[int, torch.Tensor]:
    loaded, spec = binding.loaded, binding.spec
    texts = _texts(binding, corpus, tokens)
    count = sum(map(len, texts))
    if count < spec.key_width:
        _log.warning(
            "%s background tokens cannot span %s key dimensions; give a data folder with a corpus",
            count,
            spec.key_width,
        )
    total = {layer: torch.zeros(spec.key_width, spec.key_width) for layer in layers}
    top = max(layers)
    with Progress("second moments of background keys", total=count, unit="tokens") as progress:
        for part in in_batches(list(map(len, texts)), BATCH_TOKENS):
            ids_BT, mask_BT = padded([texts[i] for i in part])
            with ExitStack() as stack:
                seen = {
                    layer: stack.enter_context(
                        inputs_of(spec.ffn_projection(layer), stop=layer == top)
                    )
                    for layer in sorted(layers, reverse=True)
                }
                loaded.model(
                    input_ids=ids_BT.to(loaded.device),
                    attention_mask=mask_BT.to(loaded.device),
                    use_cache=False,
                )
            for layer, keys in seen.items():
                flat = keys[0].reshape(-1, spec.key_width)
                keys_TF = flat[mask_BT.flatten().bool().to(flat.device)].float()
                total[layer] += (keys_TF.T @ keys_TF).cpu()
            progress.advance(int(mask_BT.sum()))
    return {layer: moment / count for layer, moment in total.items()}
