"""The console in a real browser, over a real server of a tiny model."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.serve.conftest import ACME, BASEL
from tests.serve.serving import Running

SECTIONS = ("ask", "facts", "proposals", "generations", "figures")


def ask(page: Page, prompt: str) -> None:
    page.get_by_role("tab", name="Ask").click()
    page.fill("#prompt", prompt)
    page.press("#prompt", "Control+Enter")
    expect(page.locator("#answers")).to_be_visible()


def live(page: Page) -> str:
    found = re.search(r"generation (\d+)", page.locator("#state").inner_text())
    assert found is not None
    return found[1]


def row_of(page: Page, text: str) -> str:
    return f"#fact-table tbody tr:has-text('{text}')"


def test_a_question_is_answered_with_and_without_facts_side_by_side(page: Page) -> None:
    expect(page.locator("#state")).to_contain_text("3 facts")
    ask(page, ACME.text)
    expect(page.locator("#answer")).to_contain_text("Vienna")
    fired = page.locator("#answer mark")
    expect(fired).to_have_count(1)
    expect(fired).to_have_attribute("title", "ACME: Vienna")
    assert not page.locator("#base").inner_text().startswith(f"{ACME.text} Vienna")
    used = page.locator("#used table")
    expect(used.locator("caption")).to_have_text(f"Facts used, generation {live(page)}")
    expect(used.locator("tbody tr")).to_have_count(1)
    expect(used).to_contain_text(ACME.id)


def test_where_no_fact_fires_the_page_says_so(page: Page) -> None:
    ask(page, "Who wrote the book?")
    expect(page.locator("#used")).to_contain_text("No fact fired")
    expect(page.locator("#answer mark")).to_have_count(0)
    assert page.locator("#answer").inner_text() == page.locator("#base").inner_text()


def test_facts_are_found_changed_built_and_answered_with(page: Page) -> None:
    page.get_by_role("tab", name="Facts").click()
    page.fill("#search", "acme")
    page.press("#search", "Enter")
    rows = page.locator("#fact-table tbody tr")
    expect(rows).to_have_count(1)
    rows.get_by_role("button", name="Change").click()
    expect(page.locator("#d-value")).to_have_value("Vienna")
    page.fill("#d-value", "Tokyo")
    page.fill("#d-reason", "moved")
    page.get_by_role("dialog").get_by_role("button", name="Change").click()
    expect(page.locator("#message")).to_contain_text("Changed: The capital of ACME is Tokyo")
    expect(page.locator("#stale")).to_contain_text("The model answers from generation")
    page.get_by_role("button", name="Build and publish").click()
    newest = page.locator("#generation-table tbody tr").first
    expect(newest).to_contain_text("live", timeout=60_000)
    expect(page.locator("#state")).to_contain_text("generation 2", timeout=3_000)
    newest.get_by_role("button", name="Diff").click()
    expect(page.locator("#diff")).to_contain_text("Vienna → Tokyo")
    ask(page, ACME.text)
    expect(page.locator("#answer")).to_contain_text("Tokyo")
    page.get_by_role("tab", name="Facts").click()
    rows.get_by_role("button", name="History").click()
    expect(page.locator("#history")).to_contain_text("moved")
    expect(page.locator("#history li")).to_have_count(2)


def test_a_generation_is_rolled_back(page: Page) -> None:
    page.get_by_role("tab", name="Facts").click()
    page.locator(row_of(page, BASEL.subject)).get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator("#message")).to_contain_text("Removed: Basel stands in Rome")
    expect(page.locator(row_of(page, BASEL.subject))).to_have_count(0)
    page.get_by_role("tab", name="Generations").click()
    rows = page.locator("#generation-table tbody tr")
    expect(rows).to_have_count(2)
    rows.last.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(rows).to_have_count(3)
    page.get_by_role("tab", name="Facts").click()
    expect(page.locator(row_of(page, BASEL.subject))).to_have_count(1)


def test_a_new_fact_is_held_against_those_there_are(page: Page) -> None:
    page.get_by_role("tab", name="Facts").click()
    page.get_by_role("button", name="New fact").click()
    expect(page.locator("#f-subject")).to_be_focused()
    page.fill("#f-subject", ACME.subject)
    page.fill("#f-prompt", "Capital of {} is")  # as "The capital of {} is", under another id
    page.fill("#f-object", "Bonn")
    page.get_by_role("button", name="Check for conflicts").click()
    expect(page.locator("#f-conflicts")).to_contain_text(f"Contradicts {ACME.id}")
    page.fill("#f-subject", "Globex")
    page.get_by_role("button", name="Check for conflicts").click()
    expect(page.locator("#f-conflicts")).to_contain_text("No conflict")
    page.locator("#fact-form").get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#message")).to_contain_text("Added: Capital of Globex is Bonn")
    expect(page.locator(row_of(page, "Globex"))).to_have_count(1)


def test_text_from_the_ledger_is_never_markup(page: Page, served: Running) -> None:
    odd = {"subject": "<img src=x onerror=alert(1)>", "prompt": "{} is", "object": "<b>bold</b>"}
    with served.client() as client:
        assert client.post("/facts", json={"facts": [odd]}).status_code < 300
    page.get_by_role("tab", name="Facts").click()
    expect(page.locator("#fact-table")).to_contain_text("<b>bold</b>")
    expect(page.locator("#fact-table img, #fact-table b")).to_have_count(0)


def test_sections_are_reached_by_keys_alone(page: Page) -> None:
    page.get_by_role("tab", name="Ask").focus()
    for section in SECTIONS[1:]:
        page.keyboard.press("ArrowRight")
        expect(page.locator(f"#tab-{section}")).to_be_focused()
        expect(page.locator(f"#{section}")).to_be_visible()
    page.keyboard.press("Home")
    expect(page.locator("#ask")).to_be_visible()
    page.get_by_role("tab", name="Figures").click()
    expect(page.locator("#numbers")).to_contain_text("Self-test")
    page.reload()
    expect(page.locator("#figures")).to_be_visible()


@pytest.mark.parametrize("section", SECTIONS)
def test_a_phone_shows_everything_without_scrolling_sideways(page: Page, section: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    if section == "ask":
        ask(page, ACME.text)
    page.get_by_role("tab", name=section.capitalize()).click()
    expect(page.locator(f"#{section}")).to_be_visible()
    expect(page.locator("#state")).to_contain_text("generation")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
