from revisor.engines.attach import attach as attach
from revisor.errors import RevisorError as RevisorError
from revisor.facts.fact import Fact as Fact
from revisor.gate.trace import Trace as Trace
from revisor.store import Store as Store

__all__ = ["Fact", "RevisorError", "Store", "Trace", "attach"]
__version__: str
