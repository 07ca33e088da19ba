"""Every section of the console: keys, labels, contrast, a phone's width."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.server.conftest import ACME
from tests.server.serving import Running
from tests_console.pages import FORMER, ask, row_of, tab

SECTIONS = ("ask", "facts", "proposals", "generations", "tests", "figures")


def test_sections_are_reached_by_keys_alone(page: Page) -> None:
    page.get_by_role("tab", name="Ask").focus()
    for section in SECTIONS[1:]:
        page.keyboard.press("ArrowRight")
        expect(page.locator(f"#tab-{section}")).to_be_focused()
        expect(page.locator(f"#{section}")).to_be_visible()
    page.keyboard.press("Home")
    expect(page.locator("#ask")).to_be_visible()
    tab(page, "Figures")
    expect(page.locator("#numbers")).to_contain_text("Health")
    page.reload()
    expect(page.locator("#figures")).to_be_visible()


def test_a_fact_is_added_by_keys_alone(page: Page) -> None:
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.locator("#new-fact").focus()
    page.keyboard.press("Enter")
    for text in ("Globex", "{} sits in", "Bonn"):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.locator("#f-object").press("Enter")
    expect(row_of(page, "Globex")).to_have_count(1)
    expect(page.locator("#new-fact")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator("#fact-dialog")).to_be_hidden()


def test_every_field_has_a_label_and_every_button_a_name(page: Page) -> None:
    ask(page, FORMER)
    nameless = """() => [...document.querySelectorAll(
            "input, textarea, button, meter, table, dialog")]
        .filter((one) => !(one.labels?.length || one.getAttribute("aria-label")
            || one.getAttribute("aria-labelledby") || one.caption?.textContent
            || (one.tagName === "BUTTON" && one.textContent.trim())
            || one.closest("#dialog")))
        .map((one) => one.outerHTML)"""
    assert page.evaluate(nameless) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    ask(page, FORMER)
    for selector in ("body", ".soft", ".name", ".place", "button.main", "#candidates td", "th"):
        ratio = page.locator(f"{selector} >> visible=true").first.evaluate(CONTRAST)
        assert ratio >= 4.5, (selector, ratio)


CONTRAST = """(element) => {
    const parts = (color) => color.match(/[0-9.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    let behind = element;
    const ground = (one) => parts(getComputedStyle(one).backgroundColor);
    while (ground(behind)[3] === 0) behind = behind.parentElement;
    const [one, other] = [light(parts(getComputedStyle(element).color)), light(ground(behind))];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}"""


@pytest.mark.parametrize("section", SECTIONS)
def test_a_phone_shows_everything_without_scrolling_sideways(
    page: Page, proposing: Running, section: str
) -> None:
    with proposing.client() as client:
        wanted = {"aliases": ["A" * 60], "paraphrases": ["Where in the world is {}? In"]}
        assert client.patch(f"/facts/{ACME.id}", json=wanted).status_code == 202
    page.set_viewport_size({"width": 390, "height": 844})
    if section in ("ask", "tests"):
        ask(page, FORMER)
        page.get_by_role("button", name="Right, keep as a test").click()
    tab(page, section.capitalize())
    expect(page.locator(f"#{section}")).to_be_visible()
    expect(page.locator("#state")).to_contain_text("generation")
    if section != "ask":
        expect(page.locator(f"#{section}")).to_contain_text(re.compile("ACME|Facts|live"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_form_fits_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    tab(page, "Facts")
    row_of(page, ACME.subject).get_by_role("button", name="Change").click()
    expect(page.locator("#f-aliases")).to_be_visible()
    box = page.locator("#fact-dialog").bounding_box()
    assert box is not None
    assert (box["x"] >= 0, box["x"] + box["width"] <= 390, box["height"] <= 844) == (True,) * 3
    assert page.locator("#fact-dialog").evaluate("one => one.scrollWidth <= one.clientWidth")
