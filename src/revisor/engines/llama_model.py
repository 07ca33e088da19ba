"""A GGUF model in llama.cpp, with the interface of a causal model of transformers.

Letters: B texts at once, T tokens, V vocabulary, S tokens whose logits are wanted.
"""

from __future__ import annotations

import hashlib
import logging
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llama_cpp
import numpy as np
import torch
from torch import nn

from revisor.engines.llama_tokens import GgufTokenizer, metadata
from revisor.errors import ModelUnavailable, NotSupported, RevisorError, UsageError
from revisor.models.load import LoadedModel

CONTEXT = 8192  # tokens of prompt and answer, where nobody asks for more and the model takes them
BATCH = 512  # tokens that llama.cpp is given at once, at most
SUFFIX = ".gguf"
_HEADER = 4 << 20  # bytes of a file that are read to name it
_BLOCKS, _BLOCK = 64, 4096  # and of the rest


class DecodeFailed(RevisorError):
    """llama.cpp could not read the tokens that it was given."""


@dataclass(eq=False, kw_only=True)
class Text:
    """A text of `length` tokens, whose keys and values llama.cpp keeps as sequence `number`."""

    kept_in: Sequences
    number: int
    length: int = 0

    def run(self, ids_1T: torch.Tensor) -> torch.Tensor:
        """Read on; the logits (1, 1, V) behind the last token."""
        return self.kept_in.read(self, ids_1T[0].tolist())[None]


@dataclass(kw_only=True)
class Texts:
    """Texts that go on together, token by token."""

    rows: list[Text] = field(default_factory=list)

    def run(self, ids_B1: torch.Tensor) -> torch.Tensor:
        """Read one more token of each; the logits (B, 1, V) behind it."""
        return self.rows[0].kept_in.step(self.rows, ids_B1[:, 0].tolist())[:, None]


class Sequences:
    """A llama.cpp context in which several texts are read side by side; for one thread.

    Args:
        owner: what keeps `model`, llama.cpp's pointer, in memory.
        texts: the most at once.
        tokens: the most that are kept, of all texts together.

    Raises:
        UsageError: more texts than llama.cpp can hold.
        ModelUnavailable: there is not enough memory.
    """

    def __init__(self, model: Any, owner: Any, *, texts: int, tokens: int) -> None:
        most = int(llama_cpp.llama_max_parallel_sequences())
        if texts > most:
            raise UsageError(
                f"llama.cpp holds {most} texts at once, not {texts}.", "Use a smaller --max-batch."
            )
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max = tokens, texts
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = torch.get_num_threads()
        # One memory for all: a text takes of it what it needs, not a fixed share.
        params.kv_unified = True
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED  # as `Llama` has it
        context = llama_cpp.llama_init_from_model(model, params)
        if context is None:
            raise ModelUnavailable(
                f"llama.cpp has no memory for {tokens} tokens.", "Use a smaller --context."
            )
        self._context: Any = context
        self._memory: Any = llama_cpp.llama_get_memory(context)
        self._width = int(llama_cpp.llama_n_batch(context))  # more would end the process
        self._batch: Any = llama_cpp.llama_batch_init(self._width, 0, 1)
        self._most, self._free = texts, list(range(texts))
        vocab = llama_cpp.llama_model_get_vocab(model)
        self._vocabulary = int(llama_cpp.llama_vocab_n_tokens(vocab))
        # The owner goes last, so that the model outlives its context.
        self.close = weakref.finalize(self, _let_go, context, self._batch, owner)

    def new(self) -> Text:
        """An empty text; DecodeFailed if there are as many as may be."""
        if not self._free:
            raise DecodeFailed("llama.cpp holds as many texts as it may.")
        return Text(kept_in=self, number=self._free.pop())

    def copy(self, text: Text) -> Text:
        """The same text once more; its keys and values are shared."""
        other = self.new()
        llama_cpp.llama_memory_seq_cp(self._memory, text.number, other.number, -1, -1)
        other.length = text.length
        return other

    def keep(self, texts: Iterable[Text]) -> None:
        """Free all other texts."""
        kept = {text.number for text in texts}
        for number in set(range(self._most)) - kept - set(self._free):
            llama_cpp.llama_memory_seq_rm(self._memory, number, -1, -1)
            self._free.append(number)

    def read(self, text: Text, ids: Sequence[int], *, every: bool = False) -> torch.Tensor:
        """Read on in a text; the logits (1, V) behind the last token, with `every` all (T, V)."""
        parts = []
        for start in range(0, len(ids), self._width):
            part = ids[start : start + self._width]
            is_last = start + self._width >= len(ids)
            wanted = [every or (is_last and place == len(part) - 1) for place in range(len(part))]
            places = range(text.length, text.length + len(part))
            self._decode([text.number] * len(part), places, part, wanted)
            text.length += len(part)
            if any(wanted):
                parts.append(self._logits(sum(wanted)))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def step(self, texts: Sequence[Text], tokens: Sequence[int]) -> torch.Tensor:
        """Read a token of each text; the logits (B, V) behind them. DecodeFailed if there is no
        room."""
        numbers, places = [text.number for text in texts], [text.length for text in texts]
        self._decode(numbers, places, tokens, [True] * len(texts))
        for text in texts:
            text.length += 1
        return self._logits(len(texts))

    def _decode(
        self,
        numbers: Sequence[int],
        places: Sequence[int],
        tokens: Sequence[int],
        wanted: Sequence[bool],
    ) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for row, (number, place, token, told) in enumerate(
            zip(numbers, places, tokens, wanted, strict=True)
        ):
            batch.token[row], batch.pos[row] = token, place
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, number
            batch.logits[row] = told
        code = llama_cpp.llama_decode(self._context, batch)
        if code:
            raise DecodeFailed(f"llama.cpp could not read {len(tokens)} tokens (code {code}).")

    def _logits(self, rows: int) -> torch.Tensor:
        """Logits of those positions of the last batch that were wanted, copied out of llama.cpp."""
        found = llama_cpp.llama_get_logits(self._context)
        shape = (rows, self._vocabulary)
        return torch.from_numpy(np.ctypeslib.as_array(found, shape=shape).copy())


class LlamaCausal(nn.Module):
    """What revisor needs of a causal model, computed by llama.cpp.

    The weights stay llama.cpp's. Its own LM head has the tokens' numbers as rows, so that whoever
    cuts rows out of it, as fitting a probe does, thereby says which tokens' logits it wants; a
    parameter with the file's digest makes the model's fingerprint.

    Args:
        owner: what keeps `model`, llama.cpp's pointer, in memory.
        context: tokens that prompt and answer may have together.
        ends: tokens that end an answer.
    """

    def __init__(
        self, model: Any, owner: Any, file: Path, *, context: int, ends: Sequence[int]
    ) -> None:
        super().__init__()
        self._pointer, self._owner = model, owner
        vocabulary = int(llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model)))
        self.config = SimpleNamespace(
            model_type=metadata(model, "general.architecture"),
            max_position_embeddings=context,
        )
        self.generation_config = SimpleNamespace(eos_token_id=list(ends))
        self.embeddings = nn.Embedding(vocabulary, 1)
        self.embeddings.weight.data.zero_()
        self.head = nn.Linear(1, vocabulary, bias=False)
        self.head.weight.data = torch.arange(vocabulary, dtype=torch.float32)[:, None]
        self.file = nn.Parameter(torch.tensor(list(_digest(file)), dtype=torch.float32))
        self.requires_grad_(False)
        self.eval()

    def get_input_embeddings(self) -> nn.Module:
        """As many rows as tokens, on the device of the logits."""
        return self.embeddings

    def get_output_embeddings(self) -> nn.Module:
        """The tokens' numbers as an LM head."""
        return self.head

    def hold(self, *, texts: int, tokens: int) -> Sequences:
        """Memory for texts that are read side by side; see `Sequences`."""
        return Sequences(self._pointer, self._owner, texts=texts, tokens=tokens)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Text | Texts | None = None,
        **_: Any,
    ) -> SimpleNamespace:
        """Logits: of whole texts (B, T, V), `attention_mask` being 0 at padding, or (B, 1, V)
        behind the last tokens of texts that go on, `past_key_values`."""
        if past_key_values is not None:
            return SimpleNamespace(logits=past_key_values.run(input_ids))
        mask_BT = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return SimpleNamespace(logits=self._whole(input_ids, mask_BT.bool()))

    def _whole(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, S) of whole texts; 0 at padding."""
        wanted_S = self.head(torch.ones(1, 1, 1))[0, 0].long()
        out_BTS = torch.zeros(*ids_BT.shape, len(wanted_S))
        memory = self.hold(texts=1, tokens=ids_BT.shape[1])
        try:
            for row, (ids_T, mask_T) in enumerate(zip(ids_BT, mask_BT, strict=True)):
                logits_TV = memory.read(memory.new(), ids_T[mask_T].tolist(), every=True)
                out_BTS[row, mask_T] = logits_TV[:, wanted_S]
                memory.keep(())
        finally:
            memory.close()
        return out_BTS


class _Owned:
    """Frees a model when nothing refers to this any more."""

    def __init__(self, model: Any) -> None:
        weakref.finalize(self, llama_cpp.llama_model_free, model)


def open_llama(file: Path, *, context: int | None = None) -> LoadedModel:
    """Open a GGUF file in llama.cpp, with its quantisation.

    Args:
        context: tokens that prompt and answer may have together; by default as many as the model
            was trained with, but at most `CONTEXT`.

    Raises:
        ModelUnavailable: there is no such file, or llama.cpp cannot read it.
        NotSupported: an encoder, or an encoder-decoder model.
    """
    if not file.is_file():
        raise ModelUnavailable(f"There is no file {file}.", "Check the path.")
    # llama-cpp-python takes the warnings of this llama.cpp for errors, and would print them.
    logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL)
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        str(file).encode(), llama_cpp.llama_model_default_params()
    )
    if model is None:
        raise ModelUnavailable(
            f"llama.cpp cannot read {file}.", "Give a whole GGUF file, of a model that it knows."
        )
    owner = _Owned(model)
    if context is None:
        context = min(int(llama_cpp.llama_model_n_ctx_train(model)), CONTEXT)
    return _loaded(model, owner, file, context)


def wrap_llama(llama: Any) -> LoadedModel:
    """The model of a `llama_cpp.Llama`, which keeps it; NotSupported: an encoder, a LoRA
    adapter."""
    if llama.lora_path:
        raise NotSupported(
            f"The model of {llama.model_path} has an adapter that is not in its file.",
            "Merge the adapter into the file, or go without a probe: probe='off'.",
        )
    return _loaded(llama.model, llama, Path(llama.model_path), llama.n_ctx())


def _loaded(model: Any, owner: Any, file: Path, context: int) -> LoadedModel:
    if llama_cpp.llama_model_has_encoder(model) or not llama_cpp.llama_model_has_decoder(model):
        raise NotSupported(
            f"The model of {file} is not one that continues its prompt.",
            "Facts need a causal language model.",
        )
    tokenizer = GgufTokenizer(model, owner)
    causal = LlamaCausal(model, owner, file, context=context, ends=tokenizer.ends)
    return LoadedModel(name=file.name.removesuffix(SUFFIX), model=causal, tokenizer=tokenizer)


def _digest(file: Path) -> bytes:
    """A digest (32 bytes) of a file's size, its header and pieces of its weights."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        digest.update(stream.read(_HEADER))
        for place in range(_BLOCKS):
            stream.seek(size * place // _BLOCKS)
            digest.update(stream.read(_BLOCK))
    return digest.digest()


def _let_go(context: Any, batch: Any, _owner: Any) -> None:
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
