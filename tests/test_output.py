"""What the command line prints where the output's encoding lacks letters."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from revisor.cli import print_any_letter
from revisor.facts.fact import Fact
from revisor.store import Store

CAFE = Fact(subject="Café Zoé", prompt="The owner of {} is", object="Noël 東 𝄞")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A store of one fact in letters beyond ASCII."""
    path: Path = tmp_path_factory.mktemp("output") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(path.parent / "cache"))
        with Store.init(path, model=str(model_folder), probe="off") as made:
            made.add([CAFE])
    return path


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_is_printed_in_any_encoding(encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    print_any_letter(stream)
    stream.write(CAFE.object)
    stream.flush()
    told = raw.getvalue().decode(encoding)
    assert json.loads(f'"{told}"') == CAFE.object
    assert (told == CAFE.object) == (encoding == "utf-8")


@pytest.mark.parametrize("command", [("ls",), ("show", CAFE.id), ("ls", "--json"), ("log",)])
def test_a_command_succeeds_where_output_is_ascii(store: Path, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "revisor", *command, "--store", str(store)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    told = done.stdout.decode("ascii")
    if "--json" in command:
        assert json.loads(told)["facts"][0]["object"] == CAFE.object
    elif command != ("log",):
        assert "No\\u00ebl" in told
