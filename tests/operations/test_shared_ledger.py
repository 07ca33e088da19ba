"""Two stores, as of two machines, over one PostgreSQL database."""

from __future__ import annotations

import time
from pathlib import Path

from revisor.store import Store
from tests.databases import Databases
from tests.stores import ACME, BASEL, FACTS, answer, new_store


def test_what_one_store_commits_publishes_or_erases_holds_in_the_other(
    tmp_path: Path, model_folder: Path, databases: Databases
) -> None:
    url = databases.new("postgresql")
    with (
        new_store(tmp_path / "a", model_folder, *FACTS, database=url) as one,
        new_store(tmp_path / "b", model_folder, database=url) as other,
    ):
        assert answer(other, ACME).startswith("Jane Roe")

        def follows(text: str) -> bool:
            started = time.monotonic()
            while time.monotonic() - started < 1:
                view = other.index.view()
                if [view.fact(found).object for found in view.find(["acme"])] == [text]:
                    return answer(other, ACME).startswith(text)
                time.sleep(0.02)
            return False

        one.set_object(ACME.id, "Bob Poe")
        assert follows("Bob Poe")
        one.publish(1)
        assert follows("Jane Roe")
        one.publish(2)
        assert follows("Bob Poe")
        one.purge([BASEL.id])
        other.index.refresh()
        assert not other.index.view().find(["basel"])
        assert other.verify() == one.verify() == []
        assert "ledger.sqlite" not in {file.name for file in other.path.iterdir()}
    with Store.open(tmp_path / "b") as again:
        assert again.ledger.count() == 2
