"""Making a store: the model is opened once and measured; then `store.toml` and the ledger."""

from __future__ import annotations

import os
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from revisor.config import SENTENCE_ENCODER, StoreSettings, sentence_encoder, write_settings
from revisor.errors import CannotWrite, ModelUnavailable, UsageError
from revisor.facts.ledger import Ledger
from revisor.facts.private import make_private, writing
from revisor.gate.encoders import open_encoder
from revisor.gate.functional import save_probe
from revisor.gate.probe import Probe, load_probe, probe_fingerprint, require
from revisor.models.load import DTYPE_NAMES, LoadedModel, load_model
from revisor.models.packaged import PACKAGED


def make_store(path: Path, wanted: StoreSettings) -> tuple[LoadedModel, Probe | None]:
    """Write a new store's settings and its empty ledger, after everything was found in order.

    Args:
        path: the store's folder; made where it is not there.
        wanted: `dtype` may be `auto`; what is None is chosen for the model.
    """
    _check(path)
    _check_model(wanted.model)
    if wanted.method == "revisor":
        open_encoder(sentence_encoder(wanted.encoder))
    loaded = load_model(wanted.model, dtype=wanted.dtype, device=wanted.device)
    probe = None
    if wanted.method == "neuraldb":
        wanted = _with_layer(loaded, wanted)
    elif wanted.probe == "auto":
        probe = load_probe(loaded)
        require(probe.figures, wanted.model)
    settings = replace(
        wanted,
        model=_lasting(wanted.model),
        encoder=_lasting_encoder(wanted.encoder),
        dtype=DTYPE_NAMES[next(loaded.model.parameters()).dtype],
    )
    with writing(f"Cannot make a store at {path}", "Choose another --store."):
        make_private(path)
        Ledger.open(settings.database or path / "ledger.sqlite", create=True).close()
        if probe is not None:
            make_private(path / "probes")
            file = path / "probes" / f"{probe_fingerprint(loaded)}.safetensors"
            save_probe(probe, file)
            file.chmod(0o600)
        write_settings(path / "store.toml", settings)
    return loaded, probe


def _check(path: Path) -> None:
    """What is found out here costs no minutes of measuring."""
    if (path / "store.toml").exists():
        raise UsageError(
            f"There is a store at {path} already.", "Use it, or choose another --store."
        )
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir():
        raise UsageError(f"{there} is a file.", "Choose another --store.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise CannotWrite(f"Nothing may be written in {there}.", "Choose another --store.")


def _check_model(name: str) -> None:
    """Refuse what is no model before the hub is asked for it again and again.

    What the hub has is named OWNER/MODEL, but for a few of its oldest.
    """
    if not name.strip():
        raise UsageError("The model has no name.", f"Give {' or '.join(PACKAGED)}, or a folder.")
    if name in PACKAGED or "/" in name or name.lower().endswith(".gguf") or os.path.exists(name):
        return
    if near := get_close_matches(name.lower(), PACKAGED, n=1):
        raise ModelUnavailable(
            f"There is no model '{name}' here.",
            f"Did you mean '{near[0]}'? A model of the Hugging Face hub is named OWNER/MODEL.",
        )


def _with_layer(loaded: LoadedModel, wanted: StoreSettings) -> StoreSettings:
    """The settings with a layer for the gate."""
    from revisor.models.spec import spec_of
    from revisor.neuraldb.method import choose_layer

    spec = spec_of(
        loaded.model, layers_path=wanted.layers_path, projection_path=wanted.projection_path
    )
    if wanted.layer is None:
        wanted = replace(wanted, layer=choose_layer(wanted.model, loaded, spec))
    assert wanted.layer is not None
    spec.ffn_projection(wanted.layer)
    return wanted


def _lasting(model: str) -> str:
    """A model's name that means the same from any folder."""
    return model if model in PACKAGED or not Path(model).exists() else str(Path(model).resolve())


def _lasting_encoder(setting: str) -> str:
    """An encoder's setting that means the same from any folder."""
    name = sentence_encoder(setting)
    return setting if name is None else f"{SENTENCE_ENCODER}{_lasting(name)}"
