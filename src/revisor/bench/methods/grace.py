"""GRACE: a codebook beside one layer, read where a key lies within an entry's radius.

After Hartvigsen et al. 2023, algorithm 1. The adapted map is the FFN output projection; its input
at the last token of a prompt is the key. Published: the codebook is asked at that token alone,
which a decoder with a cache cannot know; here every token asks, and the radius decides. Radii are
relative to |k|, so that one default serves any model.

Shapes: N entries, T tokens, F key width, D hidden width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from revisor.bench.methods.binding import Binding, check_layers, layer_at
from revisor.bench.methods.common import unsaid
from revisor.bench.protocol import Failure
from revisor.facts.fact import Fact, normal_form
from revisor.models.hooks import rewritten
from revisor.neuraldb.editing.keys import compute_keys
from revisor.neuraldb.editing.request import Context, ContextPlan, make_requests
from revisor.neuraldb.editing.residuals import ValueSettings, compute_residuals
from revisor.progress import Progress

LAYER_SHARE = 0.5  # of the depth; see the sweep in benchmarks/sweep_baselines.py


@dataclass(frozen=True, kw_only=True)
class GraceOptions:
    """GRACE: the layer of the codebook (None: the middle of the depth), a new entry's radius as a
    multiple of |k|; the rest is as in `ValueSettings`."""

    layer: int | None = None
    radius: float = 0.3
    steps: int = 40
    rate: float = 1.0
    clamp: float = 8.0


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One prompt and what follows it, which makes or widens an entry: the key at the prompt's last
    token, the output there that says the object, and, as `label`, the object in normal form."""

    fact_id: str
    label: str
    k_F: torch.Tensor
    v_D: torch.Tensor


class Codebook:
    """Entries in the order they were added, each with its edit, in tensors that grow by doubling;
    `radius` is a new entry's, as a multiple of |k|."""

    def __init__(self, radius: float) -> None:
        self.radius = radius
        self.edits: list[Edit] = []
        self._keys = torch.empty(0, 0)
        self._eps = torch.empty(0)

    @property
    def keys_NF(self) -> torch.Tensor:
        """The entries' keys."""
        return self._keys[: len(self.edits)]

    @property
    def eps_N(self) -> torch.Tensor:
        """The entries' radii, as Euclidean distances."""
        return self._eps[: len(self.edits)]

    def add(self, edit: Edit) -> None:
        """Add, widen or split, as algorithm 1 has it."""
        first = self.radius * float(edit.k_F.norm())
        if not self.edits:
            self._append(edit, first)
            return
        distance_N = (self.keys_NF - edit.k_F).norm(dim=1)
        nearest = int(distance_N.argmin())
        far, eps = float(distance_N[nearest]), float(self._eps[nearest])
        if far > eps + first:
            self._append(edit, first)
        elif self.edits[nearest].label == edit.label:
            self._eps[nearest] = max(eps, far)
        else:  # two labels closer than their radii: they share the distance
            half = far / 2 * (1 - 1e-6)
            self._eps[nearest] = min(eps, half)
            self._append(edit, min(first, half))

    def _append(self, edit: Edit, eps: float) -> None:
        count = len(self.edits)
        if count == len(self._eps):
            keys = torch.empty(max(16, 2 * count), len(edit.k_F))
            radii = torch.empty(len(keys))
            if count:
                keys[:count], radii[:count] = self._keys, self._eps
            self._keys, self._eps = keys, radii
        self._keys[count], self._eps[count] = edit.k_F, eps
        self.edits.append(edit)


def lookup(
    k_TF: torch.Tensor, keys_NF: torch.Tensor, eps_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each key the index of the nearest entry (T), and whether it lies in its radius."""
    far_T, nearest_T = torch.cdist(k_TF.float(), keys_NF).min(1)
    return nearest_T, far_T <= eps_N[nearest_T]


class GraceEditor:
    """GRACE; see the module."""

    def __init__(self, binding: Binding, options: GraceOptions, *, name: str) -> None:
        self.name = name
        self.options = options
        self.loaded, self.spec = binding.loaded, binding.spec
        layer = layer_at(binding, LAYER_SHARE) if options.layer is None else options.layer
        (self.layer,) = check_layers(binding, (layer,))
        self.codebook = Codebook(options.radius)
        self._edits: list[Edit] = []

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Add facts; one that is there already is replaced."""
        if not facts:
            return []
        given = {fact.id for fact in facts}
        if any(edit.fact_id in given for edit in self._edits):
            self.undo(given)
        for edit in self._make(facts):
            self._edits.append(edit)
            self.codebook.add(edit)
        return unsaid(self.loaded, facts, self.attached)

    def undo(self, ids: Collection[str]) -> None:
        """Remove facts: the codebook is then as if they had never been added."""
        self._edits = [edit for edit in self._edits if edit.fact_id not in ids]
        self.codebook = Codebook(self.options.radius)
        for edit in self._edits:
            self.codebook.add(edit)

    def _make(self, facts: Sequence[Fact]) -> list[Edit]:
        options = self.options
        requests = make_requests(facts, self.loaded.tokenizer, ContextPlan())
        pairs: list[tuple[Fact, Context]] = [
            (request.fact, replace(context, position=len(context.ids) - 1))
            for request in requests
            for context in request.contexts
        ]
        single = [replace(requests[0], fact=fact, contexts=(context,)) for fact, context in pairs]
        values = ValueSettings(steps=options.steps, rate=options.rate, clamp=options.clamp)
        with Progress(self.name, total=len(single), unit="prompts") as progress:
            residuals = compute_residuals(
                self.loaded.model,
                self.spec,
                self.layer,
                single,
                replace(values, kl_weight=0.0),
                on_done=progress.advance,
            )
        keys_NF = compute_keys(
            self.loaded.model, self.spec, self.layer, [context for _, context in pairs]
        )
        module = self.spec.ffn_projection(self.layer)
        weight = next(module.parameters())
        with torch.no_grad():
            said_ND = module(keys_NF.to(weight)).float().cpu() + residuals.R_ND
        return [
            Edit(
                fact_id=fact.id,
                label=normal_form(fact.object),
                k_F=keys_NF[index].float(),
                v_D=said_ND[index],
            )
            for index, (fact, _) in enumerate(pairs)
        ]

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The model with the codebook; on exit the hook is gone."""
        if not self.codebook.edits:
            yield
            return
        module = self.spec.ffn_projection(self.layer)
        weight = next(module.parameters())
        keys_NF, eps_N = (t.to(weight.device) for t in (self.codebook.keys_NF, self.codebook.eps_N))
        values_ND = torch.stack([edit.v_D for edit in self.codebook.edits]).to(weight)

        def read(key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            flat = value.reshape(-1, value.shape[-1])
            nearest_T, hit_T = lookup(key.reshape(-1, key.shape[-1]), keys_NF, eps_N)
            return torch.where(hit_T[:, None], values_ND[nearest_T], flat).view_as(value)

        with rewritten(module, read):
            yield

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The prompt as it is: the facts are in the codebook."""
        return prompt

    @property
    def stored_bytes(self) -> int:
        """Bytes of keys, values and radii of all edits, also those that only widened an entry."""
        return sum(
            tensor.numel() * tensor.element_size()
            for edit in self._edits
            for tensor in (edit.k_F, edit.v_D)
        ) + 4 * len(self.codebook.edits)
