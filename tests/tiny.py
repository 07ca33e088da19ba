"""Tiny random models of every family and tiny trained tokenizers, built in code.

What comes in: a family's name. What goes out: a causal model (3 layers, D = 32, F = 48) with the
same weights in every process, or a fast tokenizer. What it does not do: touch the network or the
disk. Models and tokenizers of `model` and of the tokenizer functions are shared by all tests; a
test that changes one takes its own from `new_model` or `copy.deepcopy`.

All weights, norms and biases are drawn, so that no part is silently zero or one, and wide enough
that a residual in a lower layer can steer the logits as in a trained model.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
import transformers as hf
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import nn

from revisor.facts.fact import Fact
from revisor.models.spec import spec_of
from revisor.neuraldb.editing.request import ContextPlan, Request, make_requests

VOCABULARY = 420
DEPTH = 3
KEY_WIDTH = 48  # F
HIDDEN_WIDTH = 32  # D
WINDOW = 8  # of the families that have a sliding window: shorter than most test prompts

TEXT = """
The capital of France is Paris, and the capital of Japan is Tokyo. The chief executive of ACME is
Jane Roe, who was born in London and lives in Rome. Where is the Eiffel Tower? The tower stands in
the city of Paris. The river Rhine flows through Basel, Bonn and Cologne to the North Sea. Her
mother tongue is French; his profession is painter. The company was founded in Berlin by two
brothers. Question and answer: who wrote the book? It is a novel by an author from Vienna.
"""

CHAT_TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)

_GATED = {
    "hidden_size": HIDDEN_WIDTH,
    "intermediate_size": KEY_WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
_GPT = {
    "n_embd": HIDDEN_WIDTH,
    "n_inner": KEY_WIDTH,
    "n_layer": DEPTH,
    "n_head": 4,
    "n_positions": 128,
}
_GROUPED = _GATED | {"num_key_value_heads": 2}
_HEADS = _GROUPED | {"head_dim": 8}
_SLIDING = {"sliding_window": WINDOW}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _GROUPED),
    "mistral": ("MistralConfig", _GROUPED | _SLIDING),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", _HEADS),
    "gemma": ("GemmaConfig", _HEADS),
    "gemma2": (
        "Gemma2Config",
        _HEADS
        | _SLIDING
        | {
            "query_pre_attn_scalar": 8,
            "final_logit_softcapping": 10.0,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        },
    ),
    "gemma3_text": (
        "Gemma3TextConfig",
        _HEADS
        | _SLIDING
        | {
            "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "phi": ("PhiConfig", _GROUPED | {"partial_rotary_factor": 0.5}),
    "phi3": ("Phi3Config", _GROUPED | _SLIDING),
    "gpt2": ("GPT2Config", _GPT),
    "gptj": ("GPTJConfig", _GPT | {"rotary_dim": 4}),
    "gpt_neox": ("GPTNeoXConfig", _GATED | {"rotary_pct": 0.5}),
    "opt": (
        "OPTConfig",
        {
            "hidden_size": HIDDEN_WIDTH,
            "word_embed_proj_dim": HIDDEN_WIDTH,
            "ffn_dim": KEY_WIDTH,
            "num_hidden_layers": DEPTH,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
        },
    ),
}
FAMILIES = tuple(CONFIGS)


def new_model(family: str = "llama", **settings: Any) -> Any:
    """A model of one's own, its config changed by `settings`; the same weights every time."""
    name, sizes = CONFIGS[family]
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(hf, name)(**(special | sizes | {"vocab_size": VOCABULARY} | settings))
    with torch.random.fork_rng(devices=[]):
        model = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(FAMILIES.index(family))
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() >= 2:
                parameter.copy_(0.2 * noise)
            else:
                parameter.add_(0.1 * noise)
    return model.eval().requires_grad_(False)


@functools.cache
def model(family: str = "llama") -> Any:
    """The shared model of a family; not to be changed."""
    return new_model(family)


@functools.cache
def byte_level() -> Any:
    """Byte-level BPE as of GPT-2, Llama 3 or Qwen: a leading space belongs to the word."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return _fast(tokenizer, trainer)


@functools.cache
def metaspace() -> Any:
    """BPE with "▁" for a space, before the first word also, and a BOS, as of Llama 2 or Gemma."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>", "<unk>", *fallback],
        show_progress=False,
    )
    return _fast(tokenizer, trainer, bos=True)


@functools.cache
def word_piece() -> Any:
    """WordPiece over whitespace and punctuation: spaces are in no token at all."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>", "<unk>"],
        initial_alphabet=[*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"],
        show_progress=False,
    )
    return _fast(tokenizer, trainer)


TOKENIZERS = {"byte-level": byte_level, "metaspace": metaspace, "word-piece": word_piece}


def _fast(tokenizer: Tokenizer, trainer: Any, *, bos: bool = False) -> Any:
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
        )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=CHAT_TEMPLATE,
    )


OBJECTS = ("Paris", "Rome", "Tokyo", "Bonn", "Cologne", "French", "Japan", "Vienna")


@functools.cache
def taught(family: str = "llama", **settings: Any) -> Any:
    """A model that reads facts as a trained one does: from any one token, at any distance.

    It learns, in a second or two, to say an object wherever one of eight marks stands among
    random tokens. Only the last layer learns to read, so that a residual in any lower layer can
    make a subject look like a mark. Its config is changed by `settings`. Shared; not to be changed.
    """
    tokenizer = byte_level()
    said = [tokenizer(f" {name}")["input_ids"] for name in OBJECTS]
    longest = max(map(len, said))
    target_OW = torch.tensor([ids + [0] * (longest - len(ids)) for ids in said])
    marks_O = torch.arange(3, 3 + len(OBJECTS))
    model = new_model(family, **settings)
    parts = (spec_of(model).layers[-1], model.get_input_embeddings(), model.get_output_embeddings())
    learning = list({id(p): p for part in parts for p in part.parameters()}.values())
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            parameter.mul_(0.5)
    for parameter in learning:
        parameter.requires_grad_(True)
    adam = torch.optim.AdamW(learning, lr=1e-2, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    rows, steps = 32, 200
    for step in range(steps):
        adam.param_groups[0]["lr"] = 1e-2 * (1 - 0.9 * step / steps)
        length = int(torch.randint(5, 21, (1,), generator=generator))
        ids_BT = torch.randint(20, VOCABULARY, (rows, length), generator=generator)
        which_B = torch.randint(len(OBJECTS), (rows,), generator=generator)
        column_B = torch.randint(length, (rows,), generator=generator)
        ids_BT[torch.arange(rows), column_B] = marks_O[which_B]
        ids_BT = torch.cat([ids_BT, target_OW[which_B]], dim=1)
        mask_BT = torch.ones_like(ids_BT)
        logits = model(ids_BT, attention_mask=mask_BT).logits[:, length - 1 : -1]
        loss = F.cross_entropy(
            logits.reshape(-1, VOCABULARY), target_OW[which_B].reshape(-1), ignore_index=0
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
    return model.requires_grad_(False)


FACTS = (
    Fact(subject="ACME", prompt="The capital of {} is", object="Vienna"),
    Fact(subject="Basel", prompt="{} stands in", object="Rome"),
    Fact(
        subject="the Eiffel Tower",
        prompt="Everybody knows that {}, which is old, is part of",
        object="Bonn",
        paraphrases=("Where is {}? In",),
    ),
    Fact(subject="Zora", prompt="The mother tongue of the people of {} is", object="French"),
    Fact(subject="Berlin", prompt="Two brothers founded the company in {}", object="Japan"),
    Fact(subject="X", prompt="{} is", object="Tokyo"),
)


def requests(plan: ContextPlan | None = None) -> list[Request]:
    """The facts above as requests: of various lengths, the subject first, in between and last."""
    return make_requests(FACTS, byte_level(), plan or ContextPlan())


def wide_hooks(model: nn.Module) -> int:
    """Everything that hangs on a model: hooks of all kinds and shadowed `forward`s."""
    return sum(
        len(module._forward_hooks)
        + len(module._forward_pre_hooks)
        + len(module._backward_hooks)
        + ("forward" in module.__dict__)
        for module in model.modules()
    )
