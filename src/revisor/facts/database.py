"""Opening a database and running transactions on it, the same way on SQLite and PostgreSQL.

A reading transaction is one consistent view of the database. A writing one holds the ledger's
write lock from its first statement on, so what it reads cannot be out of date when it writes:
SQLite's own lock, and on PostgreSQL an advisory lock of the schema that the ledger is in.

An SQLite file that may only be read, or whose folder may, is read as it is.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event

from revisor.errors import (
    BadInput,
    CannotWrite,
    Conflict,
    NotFound,
    StoreDamaged,
    Unreachable,
    UsageError,
)
from revisor.facts.private import make_private, private, writing

BUSY_SECONDS = 30
WRITES = "revisor_writes"
# One count a database for the whole process, so that readers beside its writers look at once: its
# ledgers may be objects that know nothing of each other.
_commits: Counter[str] = Counter()
_counting = threading.Lock()
_PLACE = "revisor_place"  # of the file that a connection has
_LOCK = 0x7265_7669  # "revi": the first half of the advisory lock's number
_HOLDERS = ("revisions", "serve_proposals")  # tables that hold facts' texts
_FULL = "Nothing was changed. Make room on the disk and run the command again."
_CLOSED = "Nothing was changed. Check who owns the store and that you may write to it."
_UNWRITTEN = {  # what to do, by what the driver says
    _FULL: ("disk is full", "disk I/O error", "No space left"),
    _CLOSED: ("readonly", "read-only", "unable to open", "permission denied"),
}


def make_engine(path_or_url: str | Path, *, create: bool) -> tuple[sa.Engine, str]:
    """An engine, and the database's name for people (no password in it).

    Raises:
        NotFound: no such SQLite file, and `create` is false.
        UsageError: the URL names no database that revisor knows, or its driver is not there.
    """
    text = str(path_or_url)
    try:
        url = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)
        if url.get_backend_name() in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        file = _sqlite_file(url)
        if file is not None:
            _check_file(file, create=create)
        engine = sa.create_engine(url, **_arguments(url, file))
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The ledger's URL cannot be used: {error}.",
            "PostgreSQL needs its driver: pip install 'revisor[postgres]'",
        ) from error
    except (sa.exc.ArgumentError, ValueError) as error:
        raise UsageError(
            f"The ledger's URL cannot be used: {error}.",
            "Name an SQLite file, or postgresql://USER@HOST/DATABASE.",
        ) from error
    name = url.render_as_string(hide_password=True) if "://" in text else text
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        if file is not None and not may_write(file):
            event.listen(engine, "begin", _refuse_writes)
        elif file is not None:
            _follow(engine, file)
    else:
        event.listen(engine, "begin", _begin_postgresql)
    return engine, name


def _sqlite_file(url: sa.URL) -> Path | None:
    """The file of an SQLite database; None for another one, or one in memory."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


def _arguments(url: sa.URL, file: Path | None) -> dict[str, Any]:
    backend = url.get_backend_name()
    if file is not None and not may_write(file):
        # Each transaction looks anew at how the file can be read: a writer may come and go.
        return {"creator": lambda: _connect_to_read(file), "poolclass": sa.NullPool}
    if backend == "sqlite":
        return {}
    if backend == "postgresql":
        return {"isolation_level": "REPEATABLE READ"}
    raise sa.exc.ArgumentError(f"'{backend}' is neither sqlite nor postgresql")


def may_write(file: Path) -> bool:
    """Whether this process may write to an SQLite file, and so beside it, where its log is."""
    there = not file.exists() or os.access(file, os.W_OK)
    return there and os.access(file.parent, os.W_OK)


def _connect_to_read(file: Path) -> sqlite3.Connection:
    """A connection to a file that may only be read.

    SQLite keeps new commits in a log, and a table of what is in it, beside the file. Where it can
    make that table or somebody else has, it reads with the log; without a log the file is all.
    """
    log, table = Path(f"{file}-wal"), Path(f"{file}-shm")
    how = "mode=ro"
    if not os.access(file.parent, os.W_OK):
        if not log.exists() or not log.stat().st_size:
            how = "immutable=1"
        elif not table.exists():
            raise CannotWrite(
                f"{file} has commits in its log, {log.name}, that cannot be read in a folder that "
                "may only be read.",
                "Copy the folder to where you may write, and use the copy.",
            )
    uri = f"file:{quote(str(file.absolute()))}?{how}"
    return sqlite3.connect(uri, uri=True, check_same_thread=False)


def _follow(engine: sa.Engine, file: Path) -> None:
    """Have an engine's connections be to the file that is there.

    A connection goes on writing to a file that was moved or removed, as when a backup is put in its
    place, and what it writes is lost; a new one would make an empty file.
    """
    there = file.absolute()  # wherever the process goes
    uri = f"{there.as_uri()}?mode=rw"

    def place() -> tuple[int, int]:
        try:
            found = there.stat()
        except OSError as error:
            raise StoreDamaged(
                f"{file} is not there any more.",
                "Put it back, with the files beside it whose names begin alike.",
            ) from error
        return found.st_dev, found.st_ino

    def connect(_dialect: object, record: Any, given: list[Any], options: dict[str, Any]) -> None:
        record.info[_PLACE] = place()
        given[0], options["uri"] = uri, True

    def check_out(_connection: object, record: Any, _proxy: object) -> None:
        if record.info.get(_PLACE) != place():
            raise sa.exc.DisconnectionError(f"{file} is another file now")

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkout", check_out)


def _check_file(file: Path, *, create: bool) -> None:
    if create:
        with writing(f"{file} cannot be made", "Name a folder in which you may write."):
            make_private(file.parent)
            if not file.exists():  # SQLite's log beside it gets the file's own mode
                os.close(private(file, os.O_CREAT | os.O_WRONLY))
    elif not file.is_file():
        raise NotFound(
            f"There is no ledger {file}.",
            "`revisor init` makes a store; one that lost its ledger needs a copy, or its archive.",
        )


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transactions begin late, at the first write: SQLAlchemy begins them here.
    connection.isolation_level = None
    (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
    pragmas = [f"busy_timeout = {BUSY_SECONDS * 1000}"]
    if not file or may_write(Path(file)):
        # A commit that returned is on the disk, whatever the library was compiled with.
        pragmas += ["journal_mode = WAL", "synchronous = FULL"]
        pragmas += ["foreign_keys = ON", "cache_size = -65536"]
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _refuse_writes(connection: sa.Connection) -> None:
    """SQLite itself would only notice at the first statement that writes."""
    if connection.get_execution_options().get(WRITES):
        raise CannotWrite(
            f"{connection.engine.url.database} may only be read: it could not be written.",
            _CLOSED,
        )


def _begin_postgresql(connection: sa.Connection) -> None:
    if connection.get_execution_options().get(WRITES):
        # Under the lock each statement must see the latest commit, not a snapshot from before it.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS * 1000 or 1}ms'")
        connection.exec_driver_sql(
            f"SELECT pg_advisory_xact_lock({_LOCK}, hashtext(current_schema()))"
        )


def database_key(engine: sa.Engine) -> str:
    """What two engines of one database have in common."""
    file = _sqlite_file(engine.url)
    return engine.url.render_as_string(hide_password=True) if file is None else str(file.resolve())


def commits(key: str) -> int:
    """How many writing transactions this process has committed to a database."""
    return _commits[key]


@contextmanager
def transaction(engine: sa.Engine, name: str, *, writes: bool) -> Iterator[sa.Connection]:
    """A transaction that is committed at the end of the block and undone by an exception."""
    with (
        told_plainly(name),
        engine.connect().execution_options(**{WRITES: writes}) as connection,
        connection.begin(),
    ):
        yield connection
    if writes:
        with _counting:
            _commits[database_key(engine)] += 1


def scrub(engine: sa.Engine, name: str) -> None:
    """Write the database out anew, so that no page holds what was deleted or overwritten."""
    with told_plainly(name), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql(f"SET lock_timeout = '{BUSY_SECONDS * 1000 or 1}ms'")
            for table in sa.inspect(connection).get_table_names():
                if table in _HOLDERS:
                    connection.exec_driver_sql(f"VACUUM FULL {table}")
            connection.exec_driver_sql("RESET lock_timeout")
            return
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.execute("VACUUM").close()
        (busy, _, _) = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise Conflict(
            f"Another process is reading {name}: what was erased is still in its log.",
            "Stop it and run `revisor gc`, which finishes the erasure.",
        )


@contextmanager
def told_plainly(name: str) -> Iterator[None]:
    """Turn the driver's errors into those of revisor.

    Raises:
        Conflict: another process holds the write lock, or too many wait for the database.
        BadInput: a value that the database cannot keep, such as a text with a NUL.
        CannotWrite: the disk is full, or the file may only be read.
        Unreachable: the database server cannot be reached.
        StoreDamaged: the file is no database, or a broken one.
    """
    try:
        yield
    except sa.exc.TimeoutError as error:
        raise Conflict(
            f"Too many wait for {name}.", "Nothing was changed. Run the command again."
        ) from error
    except (sa.exc.DataError, UnicodeEncodeError) as error:
        told = str(getattr(error, "orig", error)).strip()
        raise BadInput(
            f"A value cannot be kept: {told}.", "Nothing was changed. Correct the value."
        ) from error
    except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
        told = str(getattr(error, "orig", error)).strip()
        if "locked" in told or "lock timeout" in told:
            raise Conflict(
                f"Another process has been writing to {name} for {BUSY_SECONDS} s.",
                "Wait until it is done and run the command again.",
            ) from error
        for hint, parts in _UNWRITTEN.items():
            if any(part in told for part in parts):
                raise CannotWrite(f"{name} could not be written: {told}.", hint) from error
        if isinstance(error, sa.exc.OperationalError) and "connection" in told:
            first = told.splitlines()[0]
            raise Unreachable(
                f"The database {name} cannot be reached: {first}.",
                "Check that it runs, and the URL in store.toml.",
            ) from error
        raise StoreDamaged(
            f"The database {name} cannot be used: {told}.",
            "Check that the path is a ledger that you may write to, or restore it from a backup.",
        ) from error
