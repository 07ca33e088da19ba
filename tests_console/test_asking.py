"""Questions in the console: how they are read, answers, facts added, tests kept; a tiny model."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.server.conftest import ACME
from tests.server.serving import Running, until
from tests_console.conftest import console
from tests_console.pages import FORMER, ask, fill, live, tab


def test_a_question_is_answered_with_and_without_facts_side_by_side(page: Page) -> None:
    expect(page.locator("#state")).to_contain_text("3 facts")
    ask(page, ACME.text)
    expect(page.locator("#answer")).to_contain_text(f"{ACME.text} Vienna")
    written = page.locator("#answer mark")
    expect(written).to_have_attribute("title", "ACME: Vienna")
    expect(written).to_have_text("Vienna")
    assert not page.locator("#base").inner_text().startswith(f"{ACME.text} Vienna")
    used = page.locator("#used table")
    expect(used.locator("caption")).to_have_text(f"Facts used, generation {live(page)}")
    expect(used.locator("tbody tr")).to_have_count(1)
    expect(used).to_contain_text(ACME.id)
    expect(used).to_contain_text("token 1 of the answer")


def test_a_chat_is_answered_and_its_object_marked(page: Page) -> None:
    page.check("#ask-chat")
    ask(page, "What does Zora speak?")
    expect(page.locator("#answer mark")).to_have_attribute("title", "Zora: French")
    expect(page.locator("#answer mark")).to_have_text("French")
    expect(page.locator("#read-text")).to_contain_text("[assistant]")


def test_answers_come_token_by_token_and_can_be_stopped(
    page: Page, served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = served.service.scheduler.loaded.model
    forward = model.forward

    def slow(**arguments: object) -> object:
        time.sleep(0.03)
        return forward(**arguments)

    monkeypatch.setattr(model, "forward", slow)
    page.get_by_text("Options").click()
    page.fill("#ask-tokens", "100")
    page.fill("#prompt", ACME.text)
    page.press("#prompt", "Control+Enter")
    expect(page.locator("#stop")).to_be_visible()
    answer = page.locator("#answer")
    lengths = set()
    while len(lengths) < 4:
        lengths.add(len(answer.inner_text()))
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#answers")).to_have_attribute("aria-busy", "false")
    assert page.locator("#used > *").count() == 0
    until(lambda: served.service.scheduler.running == 0)
    page.fill("#ask-tokens", "4")
    ask(page, ACME.text)  # what was stopped leaves nothing behind
    expect(answer).to_contain_text("Vienna")


def test_a_decision_is_shown_with_names_question_place_and_candidates(page: Page) -> None:
    ask(page, ACME.text)
    expect(page.locator("#read-text .name")).to_have_text("ACME")
    expect(page.locator("#read-text mark")).to_have_text("Vienna")
    parts = page.locator("#read-parts")
    expect(parts).to_contain_text("“ACME”, 1 fact")
    expect(parts).to_contain_text(f"“{ACME.prompt}” of “ACME”")
    expect(parts).to_contain_text("the text says that an answer is due where it ends")
    row = page.locator("#candidates tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("1.00 of")
    expect(row).to_contain_text("written")


def test_a_text_is_read_while_it_is_typed_and_nothing_is_answered(
    page: Page, served: Running
) -> None:
    steps = served.service.scheduler.steps
    page.locator("#prompt").press_sequentially("Basel stands", delay=5)
    expect(page.locator("#read-text .name")).to_have_text("Basel")
    page.locator("#prompt").press_sequentially(" in", delay=5)
    expect(page.locator("#verdict")).to_contain_text("Rome")
    expect(page.locator("#answers")).to_be_hidden()
    assert served.service.scheduler.steps == steps
    page.fill("#prompt", "")
    expect(page.locator("#reading")).to_be_hidden()


def test_names_are_marked_behind_signs_of_two_units(page: Page) -> None:
    page.fill("#prompt", f"😀😀 {ACME.text}")
    expect(page.locator("#read-text .name")).to_have_text("ACME")


def test_where_no_fact_is_asked_for_the_page_says_so(page: Page) -> None:
    ask(page, "Who wrote the book?")
    expect(page.locator("#used")).to_contain_text("No fact was used")
    expect(page.locator("#verdict")).to_contain_text("No name of a fact is in the text")
    expect(page.locator("#answer mark")).to_have_count(0)
    assert page.locator("#answer").inner_text() == page.locator("#base").inner_text()


def test_a_question_is_asked_of_an_older_generation_and_of_a_namespace(
    page: Page, served: Running
) -> None:
    served.service.store.set_object(ACME.id, "Tokyo")
    ask(page, ACME.text)
    expect(page.locator("#answer mark")).to_have_attribute("title", "ACME: Tokyo")
    page.get_by_text("Options").click()
    page.fill("#ask-generation", "1")
    ask(page, ACME.text)
    expect(page.locator("#answer mark")).to_have_attribute("title", "ACME: Vienna")
    page.fill("#ask-generation", "")
    page.fill("#ask-namespace", "places")
    ask(page, ACME.text)
    expect(page.locator("#used")).to_contain_text("No fact was used")


# Adding a fact and asking in the same breath


def test_a_fact_is_added_and_asked_for_in_the_same_breath(page: Page) -> None:
    ask(page, "The founder of Globex is")
    expect(page.locator("#used")).to_contain_text("No fact was used")
    page.get_by_role("button", name="Add a fact").click()
    page.fill("#f-subject", "Globex")
    expect(page.locator("#f-prompt")).to_have_value("The founder of {} is")
    page.fill("#f-object", "Bonn")
    page.get_by_role("dialog").get_by_role("button", name="Add and ask").click()
    expect(page.locator("#message")).to_have_text("Added: The founder of Globex is Bonn.")
    expect(page.locator("#answer mark")).to_have_attribute("title", "Globex: Bonn")
    assert page.locator("#prompt").input_value() == "The founder of Globex is"


def test_a_name_that_was_found_is_the_new_facts_subject(page: Page) -> None:
    ask(page, "The mayor of Basel is")
    page.get_by_role("button", name="Add a fact").click()
    expect(page.locator("#f-subject")).to_have_value("Basel")
    expect(page.locator("#f-prompt")).to_have_value("The mayor of {} is")
    expect(page.locator("#f-object")).to_be_focused()


def test_what_the_server_refuses_is_said_in_the_form(browser: Browser, served: Running) -> None:
    with console(browser, served.url, refused=1) as page:
        page.get_by_role("button", name="Add a fact").click()
        fill(page, subject="Globex", prompt="nothing in it", object="Bonn")
        page.click("#f-save")
        expect(page.locator("#f-fault")).to_contain_text("does not name the subject")
        expect(page.locator("#fact-dialog")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#fact-dialog")).to_be_hidden()


def test_a_near_wording_is_given_to_the_fact_and_answered(page: Page) -> None:
    ask(page, FORMER)
    row = page.locator("#candidates tbody tr")
    expect(row).to_contain_text("of another status")
    row.get_by_role("button", name="Add wording").click()
    expect(page.locator("#f-paraphrases")).to_have_value("The former capital of {} is")
    page.click("#f-save")
    expect(page.locator("#message")).to_contain_text("Changed: The capital of ACME is Vienna")
    expect(page.locator("#answer mark")).to_have_attribute("title", "ACME: Vienna")


# Tests of one's own


def test_near_misses_become_tests_that_are_run_kept_and_read_again(
    page: Page, tmp_path: Path
) -> None:
    ask(page, FORMER)
    page.get_by_role("button", name="Right, keep as a test").click()
    expect(page.locator("#message")).to_contain_text("no fact shall answer")
    ask(page, ACME.text)
    page.get_by_role("button", name="Right, keep as a test").click()
    expect(page.get_by_role("tab", name="Tests (2)")).to_be_visible()
    ask(page, "The capital city of the group that ACME belongs to is")
    page.get_by_role("button", name="Should answer").first.click()
    tab(page, "Tests")
    page.get_by_role("button", name="Run all").click()
    expect(page.locator("#message")).to_have_text("1 of 3 tests failed.")
    rows = page.locator("#case-table tbody tr")
    expect(rows.nth(0)).to_contain_text("passed")
    expect(rows.nth(1)).to_contain_text("says ACME: Vienna")
    expect(rows.nth(2)).to_contain_text("failed")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    file = tmp_path / "cases.jsonl"
    download.value.save_as(file)
    cases = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [one["fact"] for one in cases] == [None, ACME.id, ACME.id]
    assert cases[0]["prompt"] == FORMER
    page.reload()  # the tab keeps them
    expect(rows).to_have_count(3)
    for left in (2, 1, 0):
        rows.first.get_by_role("button", name="Remove").click()
        expect(page.get_by_role("tab", name="Tests")).to_contain_text(f"({left})" if left else "")
    page.set_input_files("#case-load", file)
    expect(page.locator("#message")).to_have_text("3 tests read.")
    expect(rows).to_have_count(3)


def test_a_fact_that_answers_wrongly_becomes_a_test_that_fails_until_it_is_mended(
    page: Page, served: Running
) -> None:
    ask(page, ACME.text)
    page.get_by_role("button", name="Should not answer").click()
    tab(page, "Tests")
    page.get_by_role("button", name="Run all").click()
    expect(page.locator("#case-table")).to_contain_text("failed")
    served.service.store.remove([ACME.id])
    page.get_by_role("button", name="Run all").click()
    expect(page.locator("#message")).to_have_text("All 1 tests passed.")


def test_a_file_that_holds_no_tests_is_refused_with_its_line(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text('{"prompt": "The capital of ACME is", "fact": null}\n{"fact": 3}\n')
    tab(page, "Tests")
    page.set_input_files("#case-load", file)
    expect(page.locator("#message")).to_contain_text("Line 2 of the file is no test")
    expect(page.locator("#case-table")).to_contain_text("No tests yet")


def test_facts_are_asked_their_own_wordings(page: Page) -> None:
    tab(page, "Tests")
    page.get_by_role("button", name="Check them").click()
    expect(page.locator("#case-facts")).to_contain_text("3 of 3 wordings")
