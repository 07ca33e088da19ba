"""A browser, and a page of a running server's console."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from revisor.store import Store
from tests.server.conftest import served_model, store, whole_store  # noqa: F401  (fixtures)
from tests.server.serving import Running, running

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
expect.set_options(timeout=20_000)  # ms; a slow machine shall not fail a test


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.exit("no browser: apt-get install chromium, or name one in CHROMIUM", returncode=2)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def served(store: Store) -> Iterator[Running]:  # noqa: F811
    with running(store) as server:
        yield server


@pytest.fixture
def proposing(served: Running) -> Running:
    """The default namespace asks for approval."""
    with served.client() as client:
        client.put("/namespaces/default", json={"needs_approval": True})
    return served


@pytest.fixture
def page(browser: Browser, served: Running) -> Iterator[Page]:
    """The console, which must log no error."""
    with console(browser, served.url) as opened:
        yield opened


@contextmanager
def console(browser: Browser, url: str, *, refused: int = 0) -> Iterator[Page]:
    """A page of the console.

    Args:
        refused: how many requests the server is to refuse, which the browser logs as errors.
    """
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(url)
    yield opened
    if folder := os.environ.get("SCREENSHOTS"):
        name = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]
        opened.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
    context.close()
    assert [one for one in faults if "Failed to load resource" not in one] == []
    assert len(faults) == refused
