"""Opening a model by name, and its fingerprint."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ByT5Tokenizer
from transformers.utils import logging as hf_logging

from revisor.errors import ModelUnavailable, NotSupported, UsageError
from revisor.models.load import LoadedModel, default_dtype, fingerprint, load_model, wrap_model
from revisor.models.quiet import quiet_transformers
from tests import tiny

IDS = torch.arange(20, 32)[None]


def tiny_llama() -> LoadedModel:
    return wrap_model("tiny", tiny.new_model(), copy.deepcopy(tiny.byte_level()))


def print_of(loaded: LoadedModel, layer: int = 1) -> str:
    return fingerprint(loaded, layer=layer)


def test_a_saved_folder_is_opened_and_says_what_the_saved_model_says(model_folder: Path) -> None:
    loaded = load_model(str(model_folder), dtype="fp32", device="cpu")
    assert loaded.name == str(model_folder)
    assert loaded.device == torch.device("cpu")
    assert loaded.tokenizer("France")["input_ids"] == tiny.byte_level()("France")["input_ids"]
    assert torch.equal(loaded.model(IDS).logits, tiny.model()(IDS).logits)


def test_a_loaded_model_is_in_evaluation_mode_without_gradients(model_folder: Path) -> None:
    loaded = load_model(str(model_folder), dtype="fp32", device="cpu")
    assert not any(module.training for module in loaded.model.modules())
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("auto", default_dtype("cpu"))],
)
def test_a_model_is_opened_in_the_dtype_asked_for(
    model_folder: Path, dtype: str, expected: torch.dtype
) -> None:
    loaded = load_model(str(model_folder), dtype=dtype, device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {expected}


def test_an_unknown_dtype_is_refused_with_the_choices(model_folder: Path) -> None:
    with pytest.raises(UsageError, match="Unknown dtype 'int4'") as caught:
        load_model(str(model_folder), dtype="int4")
    assert "auto, fp32, bf16, fp16" in caught.value.hint


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=f"no folder {tmp_path / 'nowhere'}"):
        load_model(str(tmp_path / "nowhere"))


def test_a_missing_relative_folder_is_not_taken_for_a_hub_id() -> None:
    with pytest.raises(ModelUnavailable, match="no folder nowhere"):
        load_model("./nowhere")


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="has no config.json") as caught:
        load_model(str(tmp_path))
    assert "save_pretrained" in caught.value.hint


def test_a_folder_with_a_config_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="Cannot open the model"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_a_folder_without_weights_or_tokenizer_is_refused(
    model_folder: Path, tmp_path: Path, missing: str
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    (folder / missing).unlink()
    with pytest.raises(ModelUnavailable, match="Cannot open the model"):
        load_model(str(folder))


def test_a_folder_with_cut_off_weights_is_refused(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelUnavailable, match="Cannot open the model"):
        load_model(str(folder))


def test_a_folder_that_lacks_a_weight_is_refused_rather_than_filled_at_random(
    model_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match="lacks 1 of its weights, such as model.norm.weight"):
        load_model(str(folder))


def test_a_folder_whose_config_and_weights_disagree_is_refused(
    model_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    with pytest.raises(ModelUnavailable, match="Cannot open the model"):
        load_model(str(folder))


def test_a_model_whose_head_is_tied_to_its_embeddings_lacks_nothing(
    family: str, tmp_path: Path
) -> None:
    tied = tiny.new_model(family, tie_word_embeddings=True)
    tied.save_pretrained(tmp_path)
    tiny.byte_level().save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), dtype="fp32", device="cpu")
    assert torch.equal(loaded.model(IDS).logits, tied(IDS).logits)


def test_a_missing_gguf_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"no file .*missing\.gguf"):
        load_model(str(tmp_path / "missing.gguf"))


def test_a_gguf_file_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.gguf").write_text("this is no model")
    with pytest.raises(ModelUnavailable, match=r"cannot read .*text\.gguf"):
        load_model(str(tmp_path / "text.gguf"))


def test_a_hub_id_without_a_network_is_unavailable_with_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match="'nobody/no-such-model'") as caught:
        load_model("nobody/no-such-model")
    assert "smollm2" in caught.value.hint
    assert "\n" not in caught.value.message


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(NotSupported, match="no character offsets"):
        wrap_model("tiny", tiny.model(), ByT5Tokenizer())


def test_a_model_with_weights_that_are_not_in_memory_is_refused() -> None:
    with pytest.raises(NotSupported, match="offloaded to disk"):
        wrap_model("tiny", tiny.new_model().to("meta"), tiny.byte_level())


def test_a_wrapped_model_is_put_in_evaluation_mode() -> None:
    model = tiny.new_model().train().requires_grad_(True)
    wrap_model("tiny", model, tiny.byte_level())
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_transformers_is_quiet_only_while_it_loads() -> None:
    before = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    with quiet_transformers():
        assert not hf_logging.is_progress_bar_enabled()
    assert (hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()) == before
    with pytest.raises(ZeroDivisionError), quiet_transformers():
        raise ZeroDivisionError
    assert (hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()) == before


def test_loading_writes_nothing_on_standard_output(
    model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_model(str(model_folder), dtype="fp32", device="cpu")
    assert capfd.readouterr() == ("", "")


def test_a_model_loaded_twice_has_one_fingerprint(model_folder: Path) -> None:
    first, second = (load_model(str(model_folder), dtype="fp32", device="cpu") for _ in "ab")
    assert print_of(first) == print_of(second) == print_of(tiny_llama())
    assert len(print_of(first)) == 16
    int(print_of(first), 16)


def test_use_does_not_change_the_fingerprint() -> None:
    loaded = tiny_llama()
    before = print_of(loaded)
    texts = loaded.tokenizer(["France", "Japan is"], padding=True, return_tensors="pt")
    loaded.model(**texts)
    loaded.tokenizer("The capital of France", truncation=True, max_length=2)
    assert print_of(loaded) == before


def test_the_fingerprint_changes_with_any_one_weight() -> None:
    loaded = tiny_llama()
    before = print_of(loaded)
    for name, parameter in loaded.model.named_parameters():
        kept = parameter.flatten()[-1].item()
        parameter.view(-1)[-1] = kept * 1.001 + 1e-6
        assert print_of(loaded) != before, name
        parameter.view(-1)[-1] = kept
    assert print_of(loaded) == before


def test_the_fingerprint_changes_where_two_weights_of_one_tensor_change_places() -> None:
    """The sum of the bits stays; the sample holds all of a small tensor."""
    loaded = tiny_llama()
    before = print_of(loaded)
    weight = loaded.model.model.norm.weight
    weight.copy_(weight.flip(0))
    assert print_of(loaded) != before


def test_the_fingerprint_changes_with_the_layer_and_the_dtype() -> None:
    loaded = tiny_llama()
    prints = {print_of(loaded, layer=0), print_of(loaded, layer=1)}
    loaded.model.bfloat16()
    prints |= {print_of(loaded, layer=0), print_of(loaded, layer=1)}
    assert len(prints) == 4


def test_the_fingerprint_changes_with_the_chat_template() -> None:
    loaded = tiny_llama()
    prints = {print_of(loaded)}
    for template in (tiny.CHAT_TEMPLATE + " ", None):
        loaded.tokenizer.chat_template = template
        prints.add(print_of(loaded))
    assert len(prints) == 3


def test_the_fingerprint_changes_with_the_tokenizer() -> None:
    loaded = tiny_llama()
    before = print_of(loaded)
    loaded.tokenizer.add_tokens(["Jane Roe"])
    assert print_of(loaded) != before
    other = LoadedModel(name="tiny", model=loaded.model, tokenizer=tiny.metaspace())
    assert print_of(other) not in {before, print_of(loaded)}


def test_the_fingerprint_does_not_depend_on_the_name() -> None:
    loaded = tiny_llama()
    renamed = LoadedModel(name="other", model=loaded.model, tokenizer=loaded.tokenizer)
    assert print_of(renamed) == print_of(loaded)


def test_a_model_of_single_bytes_has_a_fingerprint() -> None:
    loaded = tiny_llama()
    before = print_of(loaded)
    bytes_33 = torch.arange(33, dtype=torch.int8)
    loaded.model.model.norm.weight = torch.nn.Parameter(bytes_33, requires_grad=False)
    assert print_of(loaded) != before


@pytest.mark.parametrize("name", ["foo", "meta", "cpu:1", "cuda:99"])
def test_a_device_that_is_not_here_is_refused_by_name(model_folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"no device '{name}' here") as caught:
        load_model(str(model_folder), device=name)
    assert "auto, cpu" in caught.value.hint
