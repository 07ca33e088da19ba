"""The tokenizer of a GGUF file: llama.cpp's own, with the methods that revisor calls."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import llama_cpp

from revisor.errors import UsageError

_PIECE = 64  # bytes that most tokens fit in


class GgufTokenizer:
    """Tokenizes as llama.cpp does, special tokens in a text included. Safe for threads.

    It has those methods of a transformers tokenizer that the gate, the probe and the server call;
    `owner` keeps `model`, llama.cpp's pointer, in memory. `chat_template` (Jinja) and the ids of
    special tokens are None where the file has none.
    """

    def __init__(self, model: Any, owner: Any) -> None:
        self._owner = owner
        self._vocab: Any = llama_cpp.llama_model_get_vocab(model)
        self._size = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self._pieces: tuple[dict[int, bytes], dict[int, bytes]] = ({}, {})
        self.chat_template = metadata(model, "tokenizer.chat_template")
        self.bos_token_id = self._known(llama_cpp.llama_vocab_bos)
        self.eos_token_id = self._known(llama_cpp.llama_vocab_eos)
        self.pad_token_id = self._known(llama_cpp.llama_vocab_pad)
        self.sep_token_id = self._known(llama_cpp.llama_vocab_sep)

    def __len__(self) -> int:
        return self._size

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        add_special_tokens: bool = True,
        return_tensors: str | None = None,
    ) -> dict[str, Any]:
        """`input_ids` of one text or several; with `return_tensors="pt"` of one as a tensor (1,
        T)."""
        if not isinstance(text, str):
            return {"input_ids": [self._encode(one, special=add_special_tokens) for one in text]}
        ids = self._encode(text, special=add_special_tokens)
        if return_tensors is None:
            return {"input_ids": ids}
        import torch

        return {"input_ids": torch.tensor([ids], dtype=torch.long)}

    def decode(
        self,
        ids: Sequence[int],
        *,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> str:
        """Tokens as text: bytes that are no character, or not one yet, are U+FFFD."""
        known = self._pieces[skip_special_tokens]
        parts = []
        for token in ids:
            piece = known.get(token)
            if piece is None:
                piece = known[token] = self._piece(token, special=not skip_special_tokens)
            parts.append(piece)
        return b"".join(parts).decode("utf-8", errors="replace")

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = False,
    ) -> str:
        """A conversation as the model reads it, rendered as transformers does.

        Raises:
            UsageError: the file has no chat template.
            jinja2.TemplateError: the template refuses these messages.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        if not self.chat_template or tokenize:
            raise UsageError("The model has no chat template.", "Ask it with a text to continue.")
        rendered, _ = render_jinja_template(
            conversations=[list(messages)],
            chat_template=self.chat_template,
            add_generation_prompt=add_generation_prompt,
            bos_token=self._form(self.bos_token_id),
            eos_token=self._form(self.eos_token_id),
        )
        return str(rendered[0])

    def get_vocab(self) -> dict[str, int]:
        """All tokens by the forms that the file gives them."""
        return dict(self._vocabulary)

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return {self._form(token): token for token in range(self._size)}

    @cached_property
    def ends(self) -> list[int]:
        """Tokens that end an answer."""
        is_end = llama_cpp.llama_vocab_is_eog
        return [token for token in range(self._size) if is_end(self._vocab, token)]

    @cached_property
    def all_special_ids(self) -> list[int]:
        """Tokens that are no text, sorted."""
        is_control = llama_cpp.llama_vocab_is_control
        found = {token for token in range(self._size) if is_control(self._vocab, token)}
        return sorted(found.union(self.ends))

    @cached_property
    def added_tokens_decoder(self) -> dict[int, str]:
        """Tokens that are found in a text before it is split, special ones among them."""
        added, attr = llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED, llama_cpp.llama_vocab_get_attr
        found = [token for token in range(self._size) if attr(self._vocab, token) & added]
        return {token: self._form(token) for token in (*self.all_special_ids, *found)}

    def _encode(self, text: str, *, special: bool) -> list[int]:
        data = text.encode("utf-8", errors="replace")
        room = len(data) + 16
        while True:
            ids = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self._vocab, data, len(data), ids, room, special, True)
            if count >= 0:
                return list(ids[:count])
            room = -count

    def _piece(self, token: int, *, special: bool) -> bytes:
        room = _PIECE
        while True:
            buffer = ctypes.create_string_buffer(room)
            size = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
            if size >= 0:
                return buffer.raw[:size]
            room = -size

    def _form(self, token: int | None) -> str:
        if token is None:
            return ""
        form: bytes = llama_cpp.llama_vocab_get_text(self._vocab, token) or b""
        return form.decode("utf-8", errors="replace")

    def _known(self, asked: Any) -> int | None:
        token = int(asked(self._vocab))
        return None if token < 0 else token


def metadata(model: Any, key: str) -> str | None:
    """A value in a GGUF file's header; None if there is none, or a list."""
    size = llama_cpp.llama_model_meta_val_str(model, key.encode(), None, 0)
    if size < 0:
        return None
    buffer = ctypes.create_string_buffer(size + 1)
    llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, size + 1)
    return buffer.value.decode("utf-8", errors="replace")
