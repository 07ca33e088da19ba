"""The console in a real browser, over a real server of a tiny model."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.server.conftest import ACME, BASEL
from tests.server.serving import Running

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
    written = page.locator("#answer mark")
    expect(written.first).to_have_attribute("title", "ACME: Vienna")
    assert "".join(written.all_inner_texts()).strip() == "Vienna"
    assert not page.locator("#base").inner_text().startswith(f"{ACME.text} Vienna")
    used = page.locator("#used table").first
    expect(used.locator("caption")).to_have_text(f"Facts used, generation {live(page)}")
    expect(used.locator("tbody tr")).to_have_count(1)
    expect(used).to_contain_text(ACME.id)


def test_a_decision_is_shown_with_its_names_and_candidates(page: Page) -> None:
    ask(page, ACME.text)
    why = page.locator("#used details")
    expect(why).to_contain_text("Names: “ACME” (1)")
    expect(why).to_contain_text("Written: Vienna")
    row = why.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text(ACME.prompt)
    expect(row).to_contain_text("1.000")


def test_where_no_fact_is_asked_for_the_page_says_so(page: Page) -> None:
    ask(page, "Who wrote the book?")
    expect(page.locator("#used")).to_contain_text("No fact was used")
    expect(page.locator("#used")).to_contain_text("Names: none")
    expect(page.locator("#answer mark")).to_have_count(0)
    assert page.locator("#answer").inner_text() == page.locator("#base").inner_text()


def test_a_fact_is_changed_and_answered_with_in_the_same_breath(page: Page) -> None:
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
    ask(page, ACME.text)
    expect(page.locator("#answer")).to_contain_text("Tokyo")
    page.get_by_role("tab", name="Facts").click()
    rows.get_by_role("button", name="History").click()
    expect(page.locator("#history")).to_contain_text("moved")
    expect(page.locator("#history li")).to_have_count(2)


def test_an_older_generation_is_published_and_the_page_says_that_changes_wait(
    page: Page, served: Running
) -> None:
    served.service.store.set_object(ACME.id, "Tokyo")
    page.get_by_role("tab", name="Generations").click()
    rows = page.locator("#generation-table tbody tr")
    expect(rows.first).to_contain_text("live")
    rows.last.get_by_role("button", name="Diff").click()
    expect(page.locator("#diff")).to_contain_text("Vienna")
    rows.last.get_by_role("button", name="Publish").click()
    expect(rows.last).to_contain_text("live, published")
    expect(rows.first).to_contain_text("waits")
    ask(page, ACME.text)
    expect(page.locator("#answer")).to_contain_text("Vienna")
    page.get_by_role("tab", name="Facts").click()
    expect(page.locator("#stale")).to_contain_text("Generation 1 was published")
    page.get_by_role("button", name="Publish the newest").click()
    expect(page.locator("#waiting")).to_be_hidden()
    ask(page, ACME.text)
    expect(page.locator("#answer")).to_contain_text("Tokyo")


def test_an_approver_sees_every_field_that_changes(page: Page, served: Running) -> None:
    with served.client() as client:
        client.put("/namespaces/default", json={"needs_approval": True})
        wanted = {"aliases": ["Zurich", "Geneva"], "valid_to": "2031-01-01", "reason": "a letter"}
        assert client.patch(f"/facts/{ACME.id}", json=wanted).status_code == 202
    page.get_by_role("tab", name="Proposals").click()
    row = page.locator("#proposal-table tbody tr")
    expect(row).to_contain_text("Change: The capital of ACME is")
    expect(row).to_contain_text("aliases: Zurich, Geneva")
    expect(row).to_contain_text("valid to: 2031-01-01")
    expect(row).to_contain_text("a letter")


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
    expect(page.locator("#numbers")).to_contain_text("Health")
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
