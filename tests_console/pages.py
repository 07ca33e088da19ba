"""What tests do on a page of the console."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

FORMER = "The former capital of ACME is"  # a near miss


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def ask(page: Page, prompt: str) -> None:
    """Ask, and wait for both answers to end."""
    tab(page, "Ask")
    page.fill("#prompt", prompt)
    page.press("#prompt", "Control+Enter")
    ended(page)


def ended(page: Page) -> None:
    expect(page.locator("#answers")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#used > *")).to_have_count(1)


def live(page: Page) -> str:
    found = re.search(r"generation (\d+)", page.locator("#state").inner_text())
    assert found is not None
    return found[1]


def row_of(page: Page, text: str) -> Locator:
    return page.locator(f"#fact-table tbody tr:has-text('{text}')")


def fill(page: Page, **values: str) -> None:
    page.locator("#f-more").evaluate("more => more.open = true")
    for name, value in values.items():
        page.fill(f"#f-{name}", value)
