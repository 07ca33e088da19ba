"""Facts as they are looked up: by the words of a name, at a generation, a moment, in namespaces."""

from revisor.index.base import IndexedFact
from revisor.index.basefile import forget
from revisor.index.follow import FactIndex
from revisor.index.view import View

__all__ = ["FactIndex", "IndexedFact", "View", "forget"]
