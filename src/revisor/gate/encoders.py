"""The encoder that a store names: the shipped one, or a sentence encoder, calibrated once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from revisor.errors import NotSupported
from revisor.models.packaged import cache_folder
from revisor.progress import Progress
from revisor.question.encoder import QuestionEncoder, default_encoder
from revisor.question.external import (
    LEAST,
    NEUTRAL,
    WEIGHTS,
    Calibration,
    SentenceEncoder,
    calibrated,
    pairs,
)

log = logging.getLogger(__name__)

FORMAT = 1  # of the file; counts up when the fit changes


def open_encoder(name: str | None, *, cache: Path | None = None) -> QuestionEncoder:
    """The encoder that compares questions; opened once a process.

    Args:
        name: folder or name of a sentence encoder; None for the shipped encoder.
        cache: folder of calibrations; `cache_folder()/encoders` if None.

    Raises:
        ModelUnavailable: there is no such encoder, or it cannot be opened.
        NotSupported: it needs more than pooling, or its vectors do not tell questions apart.
    """
    if name is None:
        return default_encoder()
    return _sentence_encoder(name, cache or cache_folder() / "encoders")


@lru_cache(maxsize=4)
def _sentence_encoder(name: str, cache: Path) -> QuestionEncoder:
    from revisor.models.sentences import open_sentence_model

    model = open_sentence_model(name)
    file = cache / f"{model.fingerprint}-{_texts_digest()}.json"
    found = _read(file)
    if found is None:
        with Progress("Calibrating the encoder, once"):
            found = calibrated(model.embed)
        _keep(found, file)
    if not found.ok:
        raise NotSupported(
            f"The encoder '{name}' does not tell questions apart: of what asks the same and what "
            f"asks for something else, the same is nearer in {found.order:.0%} ({LEAST:.0%} are "
            "needed).",
            "Take another one, or leave `encoder` out for the one that is shipped.",
        )
    return SentenceEncoder(f"sentence-{model.fingerprint}", model.embed, found)


def _texts_digest() -> str:
    """Names the texts and the way of calibrating, for the cache."""
    digest = hashlib.sha256(json.dumps([FORMAT, NEUTRAL, WEIGHTS]).encode())
    digest.update("\n".join(map(repr, pairs())).encode())
    return digest.hexdigest()[:8]


def _read(file: Path) -> Calibration | None:
    """The calibration in a file; None where there is none or it is damaged."""
    try:
        return Calibration(**{k: float(v) for k, v in json.loads(file.read_text("utf-8")).items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _keep(found: Calibration, file: Path) -> None:
    """Write a calibration to a file atomically."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=".encoder-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(asdict(found), stream)
            os.chmod(scratch, 0o644)  # mkstemp's is for the user alone, and caches are shared
            os.replace(scratch, file)
        finally:
            Path(scratch).unlink(missing_ok=True)
    except OSError as error:
        log.warning("A calibration cannot be kept in %s, so it is made again: %s", file, error)
