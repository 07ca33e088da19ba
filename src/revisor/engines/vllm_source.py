"""A store's facts for an engine that starts by itself, and what a request says about its own."""

from __future__ import annotations

import logging
import pkgutil
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from revisor.errors import NotFound, NotSupported, UsageError
from revisor.gate.functional import Probe, read_probe, require
from revisor.gate.tokens import Behind, Tokens
from revisor.models.load import LoadedModel, load_tokenizer

if TYPE_CHECKING:
    from revisor.gate.gate import FactGate
    from revisor.index.view import View

log = logging.getLogger(__name__)

PREFIX = "revisor_"
NAMES = ("facts", "generation", "namespace", "tag")
LONGEST_NAME = 1_000  # characters of a namespace
LONGEST_TAG = 200
WATCH_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a request says about its facts.

    `facts` False: the model by itself. `namespaces` None: all; `generation` None: the live one. By
    its `tag` the facts used are found again in the log.
    """

    facts: bool = True
    namespaces: tuple[str, ...] | None = None
    generation: int | None = None
    tag: str = ""

    @classmethod
    def read(cls, extra: Mapping[str, Any] | None) -> Options:
        """The options among a request's extra arguments; UsageError for an argument `revisor_…`
        that is unknown or has a wrong value."""
        own = {
            key.removeprefix(PREFIX): value
            for key, value in (extra or {}).items()
            if key.startswith(PREFIX)
        }
        if unknown := sorted(own.keys() - set(NAMES)):
            raise UsageError(
                f"There is no option {PREFIX}{unknown[0]}.",
                f"Known: {', '.join(PREFIX + name for name in NAMES)}.",
            )
        return cls(
            facts=_read_facts(own.get("facts", True)),
            namespaces=_read_namespaces(own.get("namespace")),
            generation=_read_generation(own.get("generation")),
            tag=_read_tag(own.get("tag", "")),
        )


def _read_facts(value: Any) -> bool:
    # vLLM's own extra arguments are texts and numbers: `false` reaches it as 0.
    if isinstance(value, bool | int) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise UsageError(f"revisor_facts is {value!r}.", "Say true or false.")


def _read_namespaces(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if (
        not isinstance(names, list | tuple)
        or not names
        or not all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in names)
    ):
        raise UsageError(
            f"revisor_namespace is {str(value)[:200]!r}.", "Give a name, or a list of names."
        )
    return tuple(dict.fromkeys(names))


def _read_generation(value: Any) -> int | None:
    if value is None:
        return None
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if type(number) is float and number.is_integer():
        number = int(number)
    if type(number) is not int or not 0 <= number < 1 << 53:
        raise UsageError(
            f"revisor_generation is {str(value)[:200]!r}.", "Give the number of a generation."
        )
    return number


def _read_tag(value: Any) -> str:
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or len(text) > LONGEST_TAG:
        raise UsageError(
            f"revisor_tag is {str(value)[:200]!r}.",
            f"Give a text of {LONGEST_TAG} characters at most.",
        )
    return text


def open_store(folder: Path) -> Any:
    """The `revisor.Store` in a folder; by name, since this package may not import the store."""
    return pkgutil.resolve_name("revisor.store:Store").open(folder)


class Source:
    """A store's facts, and the gate that writes them with one model; the store must stay open."""

    def __init__(self, store: Any, gate: FactGate) -> None:
        self.store, self.gate = store, gate
        self._events = 0

    @classmethod
    def open(
        cls, folder: Path, model: str, tokenizer: str, *, vocabulary: int, device: Any
    ) -> Source:
        """The source for a model that an engine runs.

        Args:
            model: folder of the model's checkpoint, or its name in the local cache of the hub.
            tokenizer: folder or name of its tokenizer.
            vocabulary: width of its logits.
            device: of the logits.

        Raises:
            NotFound, BadInput: there is no store, or its settings have faults.
            UsageError: the store's method is another than `revisor`.
            NotSupported: there is no probe for the model.
        """
        store = open_store(folder)
        own = load_tokenizer(tokenizer)
        gate = replace(
            store.gate(tokenizer=own, needs_model=False),
            probe=None if store.settings.probe == "off" else probe_of(store, model, own),
        )
        if gate.probe is not None and int(gate.probe.token_S.max()) >= vocabulary:
            raise NotSupported(
                f"The probe is for a larger vocabulary than that of '{model}' ({vocabulary}).",
                "Make a store for this model: revisor init --model MODEL",
            )
        tokens = Tokens.of(own)
        for behind in Behind:  # takes seconds, which no request shall wait for
            tokens.carrying(vocabulary, torch.device(device), behind)
        store.index.view()
        return cls(store, gate)

    def now(self) -> tuple[int, datetime]:
        """The live generation, and the moment."""
        return self.store.index.view().generation, self.store.workspace.clock()

    def view(self, options: Options, live: int, moment: datetime) -> View:
        """The facts for a request that begins, with `live` and `moment` from `now`; NotFound if
        there is no such generation."""
        view: View = self.store.index.view(
            generation=live if options.generation is None else options.generation,
            namespaces=options.namespaces,
            moment=moment,
        )
        return view

    def watch(self, purged: Callable[[], None]) -> None:
        """Follow the ledger in a background thread, so that no request waits while a large commit
        is read; calls `purged` when facts were purged."""

        def run() -> None:
            while True:
                time.sleep(WATCH_S)
                try:
                    self.store.index.view()
                    if self._saw_purge():
                        purged()
                except Exception as error:
                    log.warning("revisor: the ledger cannot be followed: %s", error)

        self._saw_purge()
        threading.Thread(target=run, name="revisor-watch", daemon=True).start()

    def _saw_purge(self) -> bool:
        new = self.store.ledger.events(1)
        if not new or new[0].seq == self._events:
            return False
        before, self._events = self._events, new[0].seq
        latest = self.store.ledger.events(max(1, self._events - before))
        return any(event.kind == "purge" for event in latest)

    def gone(self, fact_ids: Collection[str]) -> set[str]:
        """Those of some facts that were live once and are not known to the ledger any more."""
        gone = set()
        for fact_id in fact_ids:
            try:
                found = self.store.ledger.ids_of([fact_id])
            except NotFound:
                found = []
            if found != [fact_id]:
                gone.add(fact_id)
        return gone


def probe_of(store: Any, model: str, tokenizer: Any) -> Probe:
    """The probe of a model that is not opened, by the fingerprint of its checkpoint; the store's
    only one where the checkpoint has other tensors, such as quantised ones.

    Raises:
        NotSupported: there is none, or it is not good enough.
    """
    from revisor.gate.probe import load_probe, probe_fingerprint

    loaded = _as_on_disk(model, tokenizer)
    found: Probe | None = None
    if loaded is not None:
        found = read_probe(store.workspace.probe(probe_fingerprint(loaded)))
        found = found or load_probe(loaded, fit=False)
    else:
        own = sorted((store.path / "probes").glob("*.safetensors"))
        if len(own) == 1 and store.tokenizer.get_vocab() == tokenizer.get_vocab():
            log.warning("revisor: '%s' is taken for a form of the store's model", model)
            found = read_probe(own[0])
    if found is None:
        raise NotSupported(
            f"There is no probe for the model '{model}' in the store {store.path}.",
            "Make a store for this model: revisor init --model MODEL",
        )
    require(found.figures, model)
    return found


class _Checkpoint:
    """The parameters of a model, each read from the files when it is looked at."""

    def __init__(self, names: Sequence[str], files: Mapping[str, Path]) -> None:
        self._names, self._files = names, files

    def named_parameters(self) -> Any:
        from safetensors import safe_open

        for name in self._names:
            with safe_open(str(self._files[name]), framework="pt") as opened:
                yield name, opened.get_tensor(name)


def _folder(model: str) -> Path | None:
    """The folder of a model's files, fetched from the hub if vLLM has not done so yet."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    for is_local in (True, False):
        try:
            found = Path(
                snapshot_download(
                    model, local_files_only=is_local, allow_patterns=["*.safetensors", "*.json"]
                )
            )
        except (OSError, ValueError):
            continue
        if any(found.glob("*.safetensors")):
            return found
    return None


def _as_on_disk(model: str, tokenizer: Any) -> LoadedModel | None:
    """A model as far as its fingerprint needs it; None if its files have other tensors."""
    from safetensors import safe_open
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = _folder(model)
    if folder is None:
        return None
    files: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as opened:
            files.update(dict.fromkeys(opened.keys(), file))
    try:
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    except (ValueError, KeyError, OSError):
        return None
    names = [name for name, _ in empty.named_parameters()]
    if not all(name in files for name in names):
        return None
    checkpoint: Any = _Checkpoint(names, files)
    return LoadedModel(name=model, model=checkpoint, tokenizer=tokenizer)
