from revisor.errors import RevisorError as RevisorError
from revisor.facts.fact import Fact as Fact
from revisor.store import Store as Store

__all__ = ["Fact", "RevisorError", "Store"]
__version__: str
