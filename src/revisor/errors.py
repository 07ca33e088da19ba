"""Every error that revisor raises on purpose: one class per condition.

An error has a message (what happened, with which value) and a hint (what to do next). The command
line prints both and ends with `exit_code`; the server answers with `http_status`. Bugs are not
wrapped: an unexpected exception stays a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FAULTS_SHOWN = 20  # of an error with many


class RevisorError(Exception):
    """Base of all errors meant for people.

    Args:
        message: what happened, naming the value that caused it.
        hint: what the user can do about it; may be empty.
        faults: where several things may be wrong (`BadInput`, `Conflict`), all of them, one by one;
            printed, the error lists the first ones.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, message: str, hint: str = "", faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.message, self.hint, self.faults = message, hint, tuple(faults)

    def __str__(self) -> str:
        faults, more = self.listed()
        others = f"... and {more} more" if more else ""
        return "\n".join(filter(None, (self.message, *map(str, faults), others, self.hint)))

    def listed(self) -> tuple[Sequence[Fault], int]:
        """The faults to be listed behind the message, and how many are left out; none where the
        message tells the only one."""
        if len(self.faults) == 1 and str(self.faults[0]) in self.message:
            return (), 0
        return self.faults[:FAULTS_SHOWN], max(0, len(self.faults) - FAULTS_SHOWN)


class UsageError(RevisorError):
    """The command or call cannot mean anything: an unknown name, a contradictory option."""

    exit_code = 2
    http_status = 400


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one line of an input file.

    Attributes:
        fault: what is wrong, and with which value.
        remedy: how to mend it.
        line: 1-based line (or row) number; 0 where the whole file is meant.
    """

    fault: str
    remedy: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.fault}" + (f" ({self.remedy})" if self.remedy else "")


class BadInput(UsageError):
    """A file or value that cannot be read as facts. Carries every fault found, not the first."""


class NotFound(UsageError):
    """A named thing (fact id, generation, file, suite) that does not exist."""

    http_status = 404


class Conflict(RevisorError):
    """Facts that contradict one another, all listed; or a write that lost a race."""

    exit_code = 3
    http_status = 409


class NeedsApproval(Conflict):
    """A change in a namespace whose changes somebody else has to approve."""


class ModelUnavailable(RevisorError):
    """The model cannot be fetched or opened (no network, not a model folder, wrong hash)."""

    exit_code = 2


class UnknownFamily(UsageError):
    """A model whose FFN layout is not in the table of families."""


class WrongModel(UsageError):
    """A bank that was built for another model, tokenizer, layer, dtype or chat template."""


class NotBuilt(UsageError):
    """A store that holds facts but no bank for this model yet."""


class Unreachable(UsageError):
    """A database server that does not answer, or is not where its URL says."""

    http_status = 503


class StoreDamaged(RevisorError):
    """A file of the store whose hash or shape is not what its manifest says."""


class CannotWrite(RevisorError):
    """The disk is full, or the place may only be read. What was there is whole."""

    http_status = 507


class NotSupported(UsageError):
    """An operation this editor or model cannot do, such as undoing a weight update."""


class WorkersLost(RevisorError):
    """Workers of a build die one after the other."""
