"""Making a store: a model is opened once, a layer is chosen, the ledger and store.toml are written.

What comes in: a model's name and settings. What goes out: a `Store`. What it does not do: write
anything before everything was found in order.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from revisor.config import (
    BITS,
    PRESETS,
    SCOPES,
    SEARCHES,
    StoreSettings,
    swept_layer,
    write_settings,
)
from revisor.errors import CannotWrite, UsageError
from revisor.facts.ledger import Ledger
from revisor.models.load import DTYPE_NAMES, LoadedModel, load_model
from revisor.models.spec import Spec, spec_of
from revisor.neuraldb.editing.calibration import compare_layers
from revisor.neuraldb.editing.presets import preset_settings
from revisor.progress import Progress

if TYPE_CHECKING:
    from revisor.store import Store


def make_store(
    kind: type[Store],
    path: Path,
    *,
    model: str,
    dtype: str,
    device: str,
    layer: int | None,
    preset: str,
    layers_path: str | None,
    projection_path: str | None,
    database: str | None,
    exact: bool,
    bits: int | None,
    scope: str,
    search: str,
) -> Store:
    """See `Store.init`, of which this is the work."""
    if (path / "store.toml").exists():
        raise UsageError(
            f"There is a store at {path} already.", "Use it, or choose another --store."
        )
    if preset not in PRESETS:
        raise UsageError(f"Unknown preset '{preset}'.", f"Choose one of: {', '.join(PRESETS)}.")
    bits = preset_settings(preset, 0).bits if bits is None else bits
    if bits not in BITS:
        raise UsageError(f"Cannot store rows in {bits} bits.", f"Choose one of: {BITS}.")
    if scope not in SCOPES:
        raise UsageError(f"Unknown scope '{scope}'.", f"Choose one of: {', '.join(SCOPES)}.")
    if search not in SEARCHES:
        raise UsageError(f"Unknown search '{search}'.", f"Choose one of: {', '.join(SEARCHES)}.")
    if search != "auto" and preset != "paper":
        raise UsageError(
            f"The preset '{preset}' looks rows up by names and searches through no keys.",
            "Leave --search out, or take --preset paper.",
        )
    loaded = load_model(model, dtype=dtype, device=device)
    spec = spec_of(loaded.model, layers_path=layers_path, projection_path=projection_path)
    if layer is None:
        layer = swept_layer(model, preset)
    if layer is None:
        layer = _probed_layer(loaded, spec)
    spec.ffn_projection(layer)
    settings = StoreSettings(
        model=model
        if model == "smollm2" or not Path(model).exists()
        else str(Path(model).resolve()),
        dtype=DTYPE_NAMES[next(loaded.model.parameters()).dtype],
        device=device,
        layer=layer,
        preset=preset,
        layers_path=layers_path,
        projection_path=projection_path,
        database=database,
        exact=exact,
        bits=bits,
        scope=scope,
        search=search,
    )
    try:
        path.mkdir(parents=True, exist_ok=True)
        ledger = Ledger.open(database or path / "ledger.sqlite", create=True)
        write_settings(path / "store.toml", settings)
    except OSError as error:
        raise CannotWrite(
            f"Cannot make a store at {path}: {error.strerror}.", "Choose another --store."
        ) from error
    store = kind(path, settings, ledger)
    store.__dict__.update(loaded=loaded, spec=spec)
    return store


def _probed_layer(loaded: LoadedModel, spec: Spec) -> int:
    """The best layer by the probe, among those in the first half where subjects are enriched."""
    depth = spec.depth
    candidates = sorted(
        {min(depth - 1, max(0, round(depth * share / 30))) for share in range(2, 11)}
    )
    with Progress("Probing layers", total=len(candidates), unit="layers") as progress:
        scores = compare_layers(loaded, spec, candidates, on_done=progress.advance)
    return scores[0].layer
