"""When vLLM starts with facts, and when it must not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from revisor.errors import NotSupported
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.files import save_bank
from revisor.store import Store
from tests_vllm.common import FACTS, TOWER, start


def test_it_does_not_start_where_facts_do_not_fire(first: Path, tmp_path: Path) -> None:
    """A bank whose keys are another model's."""
    path = tmp_path / "store"
    shutil.copytree(first, path)
    with Store.open(path) as wrong:
        view = wrong.bank().view()
        save_bank(
            View(**(vars(view) | {"keys_ME": -view.keys_ME[:]})),
            wrong.banks,
            fingerprint=wrong.fingerprint,
            model="smollm2",
            layer=wrong.settings.layer,
            build={},
            failed=[],
        )
    done = start(path, tmp_path / "start.py")
    assert done.returncode != 0
    assert "ANSWER" not in done.stdout
    assert "does not fire in vLLM" in done.stdout + done.stderr


def test_it_does_not_start_in_another_dtype(first: Path, tmp_path: Path) -> None:
    done = start(first, tmp_path / "start.py", dtype="bfloat16")
    assert done.returncode != 0
    assert "ANSWER" not in done.stdout
    assert "The store was built in fp32" in done.stdout + done.stderr


def test_the_preset_of_the_paper_answers(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Store.init(path, model="smollm2", device="cpu", dtype="fp32", preset="paper") as made:
        made.add(FACTS[:2])
        assert made.build().failed == []
        expected = [a.answer for a in made.engine().generate([TOWER.text], max_tokens=6)]
    done = start(path, tmp_path / "start.py")
    answers = [x.removeprefix("ANSWER").strip() for x in done.stdout.split("\n") if "ANSWER" in x]
    assert answers[:1] == expected, done.stderr[-2000:]


def test_a_version_that_was_never_tried_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import vllm

    from revisor.serve import vllm as plugin

    monkeypatch.setattr(plugin, "_installed", [])
    monkeypatch.setattr(vllm, "__version__", "0.99.0")
    with pytest.raises(NotSupported, match=r"0\.99\.0"):
        plugin.install(Path("store"))
