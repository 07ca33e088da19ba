"""The nearest stored key of each query: exactly, or over an index of FAISS.

The gate compares cosines (Fei et al. 2026, eq. 6): keys are unit vectors, and a dot product of two
of them is the cosine.

In the index keys are projected on their principal axes, assigned to lists by the nearest of C
centres there, and kept as codes of 8 bits. A query searches the lists whose centres are nearest to
it; the best of what it finds are compared again as whole keys, so that a returned cosine is exact.
Codes are ranked by distance: the mean that a projection subtracts cancels out of a difference, but
not out of an inner product. Whether an index is good enough for a bank is measured (`good_enough`).
Where keys are on a GPU it is not used: comparing them all is faster there.

FAISS is not in a core install (extra `scale`). Without it an index can be neither made nor read,
and every key is compared.

T queries, M keys, E width of a key, C lists, K keys compared with a query.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

BLOCK = 1 << 24  # scores held at once: 64 MiB in fp32
EQUAL = 1e-6  # cosines that differ by less are those of one key
FROM = 10_000  # keys from which an index is made (docs/scale.md)
WIDTH = 256  # directions
SAMPLE = 1 << 15  # keys on which directions and centres are learnt
PROBES = 16  # lists looked at, at first
COMPARED = 32  # keys compared whole
ENOUGH = 0.999  # share of decisions that must be those of the exact search
MISSING = (
    "FAISS (1.11 or newer) is not installed: every key is looked at, which decides the same and "
    "takes longer. For an index: pip install 'revisor[scale]'."
)


def unit(k_TF: torch.Tensor) -> torch.Tensor:
    """Raw keys as unit vectors, fp32."""
    return F.normalize(k_TF.float(), dim=-1)


def nearest(q_TE: torch.Tensor, keys_ME: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """cosine_T and entry_T by exact search, in blocks that bound its memory; of equal cosines the
    first entry wins."""
    step = max(1, BLOCK // max(1, len(keys_ME)))
    if len(q_TE) <= step:
        cosine_T, entry_T = (q_TE @ keys_ME.T).max(dim=1)
        return cosine_T, entry_T
    parts = [(q_TE[i : i + step] @ keys_ME.T).max(dim=1) for i in range(0, len(q_TE), step)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def library() -> Any | None:
    """The module faiss; None where it is not installed, or cannot map a file."""
    try:
        faiss = import_module("faiss")
    except ImportError:
        return None
    return faiss if hasattr(faiss, "IO_FLAG_MMAP_IFC") else None


@dataclass(frozen=True, kw_only=True)
class Coarse:
    """An index of FAISS over the keys of a view; `probes` is how many lists a query searches."""

    index: Any
    probes: int

    @property
    def lists(self) -> int:
        """C, the number of lists."""
        return int(self._ivf.nlist)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, places and centres."""
        ivf = self._ivf
        return int(ivf.ntotal * (ivf.code_size + 8) + 4 * ivf.nlist * ivf.d)

    @property
    def _ivf(self) -> Any:
        return import_module("faiss").extract_index_ivf(self.index)

    def nearest(
        self, q_TE: torch.Tensor, keys_ME: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """cosine_T and entry_T, mostly those of `nearest`, for fp32 unit queries and all keys of
        the view, on the CPU."""
        self._ivf.nprobe = self.probes
        step = max(1, BLOCK // (COMPARED * q_TE.shape[1]))
        parts = [self._part(q_TE[i : i + step], keys_ME) for i in range(0, len(q_TE), step)]
        cosine_T = torch.cat([q_TE.new_empty(0), *(cosine for cosine, _ in parts)])
        entry_T = torch.cat([torch.empty(0, dtype=torch.long), *(entry for _, entry in parts)])
        return cosine_T, entry_T

    def _part(self, q_TE: torch.Tensor, keys_ME: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = min(COMPARED, self.index.ntotal)
        with _threads(torch.get_num_threads()):
            _, found = self.index.search(q_TE.detach().contiguous().numpy(), count)
        # Where fewer are found than asked for, entry 0 is compared: it is a key as any other.
        # Of equal cosines the first entry wins.
        entry_TK = torch.from_numpy(found).clamp(min=0).sort(dim=1).values
        cosine_TK = (keys_ME[entry_TK] @ q_TE[:, :, None]).squeeze(2)
        cosine_T, best_T = cosine_TK.max(dim=1)
        return cosine_T, entry_TK.gather(1, best_T[:, None]).squeeze(1)

    def write(self, path: Path) -> None:
        """Write it to a file; OSError if that fails."""
        self._ivf.nprobe = self.probes
        path.write_bytes(import_module("faiss").serialize_index(self.index).data)


def read_index(path: Path, keys_ME: torch.Tensor) -> Coarse | None:
    """The index over keys in a file, mapped from there, None without FAISS; ValueError if it is of
    other keys, or this FAISS cannot read it."""
    faiss = library()
    if faiss is None:
        return None
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        probes = int(faiss.extract_index_ivf(index).nprobe)
    except RuntimeError as error:
        raise ValueError(f"faiss {faiss.__version__} cannot read {path.name}") from error
    if (index.ntotal, index.d) != tuple(keys_ME.shape):
        raise ValueError(f"{path.name} is of other keys")
    return Coarse(index=index, probes=probes)


def learn(keys_ME: torch.Tensor, *, seed: int = 0) -> Coarse:
    """An index over at least one key; bitwise the same for the same keys and seed, as it is learnt
    on one thread. ModuleNotFoundError without FAISS."""
    faiss = import_module("faiss")
    count, width = keys_ME.shape
    draw = torch.Generator().manual_seed(seed)
    some_SE = keys_ME[torch.randperm(count, generator=draw)[:SAMPLE]]
    lists = min(max(1, round(2 * count**0.5)), len(some_SE))
    narrowed = f"PCA{WIDTH}," if min(some_SE.shape) > WIDTH else ""
    with _threads(1):
        index = faiss.index_factory(width, f"{narrowed}IVF{lists},SQ8", faiss.METRIC_L2)
        ivf = faiss.extract_index_ivf(index)
        # Codes of the keys themselves, not of how they differ from their centre: quicker to read.
        ivf.by_residual = False
        ivf.cp.seed = seed
        ivf.cp.min_points_per_centroid = 1  # it prints a warning below that
        index.train(some_SE.numpy())
        index.add(keys_ME.numpy())
    return Coarse(index=index, probes=min(PROBES, lists))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set FAISS's own number of threads for the length of a block."""
    faiss = import_module("faiss")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a search compares with the exact one on `tokens` queries: the share (`agreement`) at
    which both fire the same row or none, the share (`recall`) whose nearest key was found, fired or
    not, and how many of them fire exactly."""

    agreement: float
    recall: float
    tokens: int
    fired: int


def good_enough(
    keys_ME: torch.Tensor, gamma_M: torch.Tensor, row_M: torch.Tensor, queries_TE: torch.Tensor
) -> tuple[Coarse | None, Trial]:
    """An index with the decisions of the exact search, and its trial on queries: more lists are
    searched until `ENOUGH` decisions agree, and if even all do not suffice there is no index."""
    exact = nearest(queries_TE, keys_ME)
    tried = learn(keys_ME)
    while True:
        trial = compared(tried.nearest(queries_TE, keys_ME), exact, gamma_M, row_M)
        if trial.agreement >= ENOUGH:
            return tried, trial
        if tried.probes >= tried.lists:
            return None, trial
        tried = replace(tried, probes=min(2 * tried.probes, tried.lists))


def compared(
    found: tuple[torch.Tensor, torch.Tensor],
    exact: tuple[torch.Tensor, torch.Tensor],
    gamma_M: torch.Tensor,
    row_M: torch.Tensor,
) -> Trial:
    """A comparison of a search's results with those of the exact search."""
    fired_T, should_T = (
        torch.where(cosine_T > gamma_M[entry_T], row_M[entry_T].long(), -1)
        for cosine_T, entry_T in (found, exact)
    )
    return Trial(
        agreement=float((fired_T == should_T).double().mean()),
        recall=float((found[0] >= exact[0] - EQUAL).double().mean()),
        tokens=len(should_T),
        fired=int((should_T >= 0).sum()),
    )
