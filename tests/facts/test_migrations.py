"""How the schema of a ledger grows: older ledgers open, others are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from revisor.errors import StoreDamaged, UsageError
from revisor.facts import migrations, schema
from revisor.facts.database import make_engine, transaction
from revisor.facts.fact import FIELDS, Fact
from revisor.facts.ledger import Ledger, Put

PUBLISHED = ["cb793e8b054a9d4f", "896c654c8ffd2e04", "e3e7b9aeec524339", "0f648f66d9794dad"]
ANN = Fact(subject="Ann", prompt="{} lives in", object="Rome", aliases=("A.",), source="a letter")


def make_old_ledger(place: str) -> None:
    """A ledger of the first schema, with one fact that was changed, as that version wrote it."""
    engine, name = make_engine(place, create=True)
    with transaction(engine, name, writes=True) as old:
        for statement in migrations.MIGRATIONS[0].statements:
            types = migrations._TYPES[engine.dialect.name]
            old.exec_driver_sql(statement.format(**types))
        old.execute(schema.meta.insert().values(key="schema_version", value="1"))
        for number in (1, 2):
            counts = {"added": 2 - number, "updated": number - 1, "removed": 0, "unchanged": 0}
            old.execute(
                schema.generations.insert().values(
                    number=number, parent=number - 1, at="2026-01-01T00:00:00.000+00:00",
                    actor="ann", reason="then", live=1, **counts,
                )
            )  # fmt: skip
        then = (name for name in FIELDS if name not in schema.LATER)
        names = ("fact_id", "subject_normal", *then)
        columns = ", ".join(("key", "revision", "generation", "until", "kind", "position", *names))
        for number, (obj, until, kind) in enumerate(
            [("Bonn", "2", "add"), ("Rome", "NULL", "update")]
        ):
            row = schema.row_from(ANN) | {"object": obj}
            values = ", ".join("NULL" if row[n] is None else "'" + str(row[n]) + "'" for n in names)
            old.exec_driver_sql(
                f"INSERT INTO revisions ({columns}) VALUES ({number + 1}, {number + 1}, "
                f"{number + 1}, {until}, '{kind}', 1, {values})"
            )
    engine.dispose()


def test_a_ledger_of_an_older_version_opens_and_keeps_everything(place: str) -> None:
    make_old_ledger(place)
    with Ledger.open(place) as ledger:
        assert list(ledger.facts()) == [ANN]
        assert [one.fact.object for one in ledger.history(ANN.id)] == ["Bonn", "Rome"]
        assert ledger.verify() == []
        assert [event.kind for event in ledger.events()] == ["write", "write"]
        made = ledger.apply(
            [Put(Fact(subject="B", prompt="{} is", object="C"))], actor="", reason=""
        )
        assert (made.number, made.live) == (3, 2)
        assert ledger.verify() == []
    with Ledger.open(place) as again:
        assert again.count() == 2


def make_ledger_of_0_1(place: str) -> None:
    """A ledger as version 0.1 left it: two generations, a tag, and a server's table beside it."""
    with Ledger.open(place, create=True) as made:
        made.apply([Put(replace(ANN, object="Bonn"))], actor="ann", reason="then")
        made.apply([Put(replace(ANN, reverse="{} is home to"))], actor="ann", reason="now")
        made.tag("good", 1, actor="ann")
        with made._connection(writes=True) as old:
            for statement in (
                "DROP TABLE policies",
                "DELETE FROM migrations WHERE number = 4",
                "UPDATE meta SET value = '3' WHERE key = 'schema_version'",
                "CREATE TABLE serve_namespaces (name VARCHAR(200) PRIMARY KEY, "
                "needs_approval BOOLEAN NOT NULL)",
                "INSERT INTO serve_namespaces VALUES ('law', true), ('press', false)",
            ):
                old.exec_driver_sql(statement)


def test_a_ledger_of_0_1_keeps_everything_and_its_newest_generation_is_live(place: str) -> None:
    make_ledger_of_0_1(place)
    with Ledger.open(place) as ledger:
        assert [one.fact.object for one in ledger.history(ANN.id)] == ["Bonn", "Rome"]
        assert (ledger.count(), ledger.tags()) == (2, {"good": 1})
        assert (ledger.live_generation(), ledger.pinned()) == (2, None)
        assert ledger.policies() == {"law": True, "press": False}
        assert ledger.verify() == []
        assert ledger.publish("good", actor="ann") == ledger.live_generation() == 1


def test_a_migration_that_fails_leaves_the_older_ledger_whole(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old_ledger(place)

    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "record", broken)
        with pytest.raises(KeyboardInterrupt):
            Ledger.open(place)
    with Ledger.open(place) as ledger:
        assert list(ledger.facts()) == [ANN]
        assert ledger.verify() == []


def test_the_hash_of_every_migration_is_stored(place: str) -> None:
    with Ledger.open(place, create=True) as ledger, ledger._connection() as connection:
        kept = connection.execute(sa.select(schema.migrations).order_by("number")).mappings()
        assert [(row["number"], row["hash"]) for row in kept] == [
            (one.number, one.hash) for one in migrations.MIGRATIONS
        ]


def test_a_published_migration_is_never_changed() -> None:
    """Whoever changes a migration, rather than adding one, cuts old stores off."""
    assert [one.hash[:16] for one in migrations.MIGRATIONS] == PUBLISHED


def test_a_ledger_that_went_through_other_migrations_is_refused(place: str) -> None:
    with Ledger.open(place, create=True) as ledger, ledger._connection(writes=True) as connection:
        connection.exec_driver_sql("UPDATE migrations SET hash = 'other' WHERE number = 2")
    with pytest.raises(StoreDamaged, match="migration 2"):
        Ledger.open(place)


def test_a_newer_ledger_names_both_versions(place: str) -> None:
    with Ledger.open(place, create=True) as ledger, ledger._connection(writes=True) as connection:
        connection.exec_driver_sql("UPDATE meta SET value = '7' WHERE key = 'schema_version'")
    with pytest.raises(
        UsageError, match=f"version 7; this revisor reads version {migrations.VERSION}"
    ):
        Ledger.open(place)


def test_the_tables_that_the_migrations_make_are_those_that_the_code_reads(place: str) -> None:
    with Ledger.open(place, create=True) as ledger:
        found = sa.inspect(ledger._engine)
        assert {*found.get_table_names()} == {*schema.metadata.tables}
        for name, table in schema.metadata.tables.items():
            columns = {column["name"]: column["nullable"] for column in found.get_columns(name)}
            assert columns == {column.name: column.nullable for column in table.columns}, name
            keys = found.get_pk_constraint(name)["constrained_columns"]
            assert keys == [column.name for column in table.primary_key.columns]
