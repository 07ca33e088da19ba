"""The encoder that a store names: opened once, calibrated once, refused where it tells nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from revisor.errors import NotSupported
from revisor.gate import encoders
from revisor.gate.decide import decide
from revisor.gate.encoders import open_encoder
from revisor.language.names import mentions
from revisor.models.packaged import cache_folder
from revisor.question.encoder import default_encoder
from tests.gate.dictionary import Dictionary, fact
from tests.sentence_models import minilm, sentence_folder

CEO = fact("ACME", "Jane Roe", "The CEO of {} is")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an encoder; not to be changed."""
    return sentence_folder(tmp_path_factory.mktemp("encoders") / "bert")


@pytest.fixture(autouse=True)
def _anew() -> None:
    """As in a process that has opened none."""
    encoders._sentence_encoder.cache_clear()


def test_no_name_means_the_shipped_encoder() -> None:
    assert open_encoder(None) is default_encoder()


def test_an_encoder_is_calibrated_once_and_kept_by_its_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_encoder(str(folder), cache=tmp_path)
    assert open_encoder(str(folder), cache=tmp_path) is first
    (kept,) = tmp_path.iterdir()
    assert first.name.removeprefix("sentence-") in kept.name
    assert set(json.loads(kept.read_text())) == {"slope", "bias", "order"}
    _anew_calibration = encoders.calibrated
    monkeypatch.setattr(encoders, "calibrated", lambda _: pytest.fail("it is calibrated again"))
    encoders._sentence_encoder.cache_clear()
    again = open_encoder(str(folder), cache=tmp_path)
    question, template = "Who is the CEO of {}?", "The CEO of {} is"
    scores = [one.scope(*one.encode([question, template])) for one in (first, again)]
    assert scores[0] == scores[1] > 0.5
    monkeypatch.setattr(encoders, "calibrated", _anew_calibration)
    kept.write_text("{")
    encoders._sentence_encoder.cache_clear()
    open_encoder(str(folder), cache=tmp_path)
    assert json.loads(kept.read_text())["slope"] > 0, "what is damaged is made anew"


def test_an_encoder_works_where_nothing_can_be_kept(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        encoder = open_encoder(str(folder), cache=tmp_path / "file" / "cache")
        assert encoder.encode(["{} CEO"])[0].any()
    assert "cannot be kept" in caplog.text


def test_an_encoder_that_tells_nothing_apart_is_refused(tmp_path: Path) -> None:
    drawn = sentence_folder(tmp_path / "drawn", telling=False)
    with pytest.raises(NotSupported, match="does not tell questions apart") as caught:
        open_encoder(str(drawn), cache=tmp_path / "cache")
    assert "shipped" in caught.value.hint


def test_the_gate_decides_by_it(folder: Path, tmp_path: Path) -> None:
    encoder = open_encoder(str(folder), cache=tmp_path)
    view = Dictionary([CEO])
    for text, is_asked in (
        ("The CEO of ACME is", True),
        ("The name of the CEO of ACME is", True),
        ("The price of ACME is", False),
    ):
        found = decide(text, mentions(text, view), view, encoder)
        assert (found is not None) is is_asked, text


@pytest.mark.real
def test_a_real_sentence_encoder_knows_other_words_for_a_question(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REVISOR_CACHE", raising=False)  # it is kept where the user's models are
        folder = minilm(cache_folder() / "models" / "all-minilm-l6-v2")
    encoder = open_encoder(str(folder), cache=tmp_path)
    seat = fact("Norvale", "Lisbon", "The headquarters of {} are in")
    price = fact("Tarn 400", "$419", "The price of the {} is")
    view = Dictionary([CEO, seat, price])
    for text, wanted in (
        ("The chief executive of ACME is", "Jane Roe"),
        ("Norvale's headquarters are located in", "Lisbon"),
        ("Q: How much does the Tarn 400 cost?\nA:", "$419"),
        ("The annual revenue of ACME is", None),
        ("Q: How heavy is the Tarn 400?\nA:", None),
        ("The weather in Oslo is", None),
    ):
        found = decide(text, mentions(text, view), view, encoder)
        assert (found.fact.object if found else None) == wanted, text
