"""The ledger in the console: facts, proposals, generations."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from revisor.server.roles import Role
from tests.server.conftest import ACME, BASEL
from tests.server.serving import Running
from tests_console.conftest import console
from tests_console.pages import FORMER, ask, fill, row_of, tab


def test_a_fact_is_changed_and_answered_with_in_the_same_breath(page: Page) -> None:
    tab(page, "Facts")
    page.fill("#search", "acme")
    page.press("#search", "Enter")
    rows = page.locator("#fact-table tbody tr")
    expect(rows).to_have_count(1)
    rows.get_by_role("button", name="Change").click()
    expect(page.locator("#f-object")).to_have_value("Vienna")
    expect(page.locator("#f-subject")).to_be_disabled()
    fill(page, object="Tokyo", aliases="Acme Corporation\nAcme Inc.", valid_to="2041-01-31")
    fill(page, reason="moved")
    page.get_by_role("dialog").get_by_role("button", name="Change").click()
    expect(page.locator("#message")).to_contain_text("Changed: The capital of ACME is Tokyo")
    expect(rows).to_contain_text("to 2041-01-31")
    ask(page, "The capital of Acme Corporation is")
    expect(page.locator("#answer")).to_contain_text("Tokyo")
    tab(page, "Facts")
    rows.get_by_role("button", name="History").click()
    last = page.locator("#history ol > li").last
    expect(last).to_contain_text("moved")
    expect(last).to_contain_text("object: Vienna → Tokyo")
    expect(last.locator("ins")).to_have_text(
        ["Tokyo", "Acme Corporation", "Acme Inc.", "2041-01-31"], use_inner_text=True
    )


def test_a_new_fact_is_held_against_those_there_are(page: Page) -> None:
    tab(page, "Facts")
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
    expect(row_of(page, "Globex")).to_have_count(1)


def test_a_long_list_is_read_page_by_page(page: Page, served: Running) -> None:
    facts = [{"subject": f"S{i:02}", "prompt": "{} is", "object": "o"} for i in range(30)]
    with served.client() as client:
        assert client.post("/facts", json={"facts": facts}).status_code == 201
    tab(page, "Facts")
    rows = page.locator("#fact-table tbody tr")
    expect(rows).to_have_count(25)
    page.locator("#facts-next").click()
    expect(rows).to_have_count(8)
    expect(page.locator("#facts-next")).to_be_disabled()
    page.locator("#facts-prev").click()
    expect(rows).to_have_count(25)


def test_text_from_the_ledger_is_never_markup(page: Page, served: Running) -> None:
    odd = {"subject": "<img src=x onerror=alert(1)>", "prompt": "{} is", "object": "<b>bold</b>"}
    with served.client() as client:
        assert client.post("/facts", json={"facts": [odd]}).status_code < 300
    tab(page, "Facts")
    expect(page.locator("#fact-table")).to_contain_text("<b>bold</b>")
    ask(page, "<img src=x onerror=alert(1)> is")
    expect(page.locator("#candidates")).to_contain_text("<b>bold</b>")
    expect(page.locator("main img, main b")).to_have_count(0)


# Proposals


def test_an_approver_sees_every_field_that_changes(page: Page, served: Running) -> None:
    with served.client() as client:
        old = {"aliases": ["Zurich", "Geneva", "Bern"], "source": "a letter"}
        assert client.patch(f"/facts/{ACME.id}", json=old).status_code == 200
        client.put("/namespaces/default", json={"needs_approval": True})
        wanted = {
            "object": "Vienna\u200b",
            "aliases": ["Zurich, Geneva", "Bern"],
            "paraphrases": ["Where is {}? In"],
            "valid_from": "2021-01-01",
            "valid_to": "2031-01-01",
            "source": None,
            "reverse": "{} is the seat of",
            "reason": "a book",
        }
        answer = client.patch(f"/facts/{ACME.id}", json=wanted)
        assert answer.status_code == 202, answer.text
    tab(page, "Proposals")
    row = page.locator("#proposal-table tbody tr")
    expect(row).to_contain_text("Change: The capital of ACME is")
    expect(row.locator(".changes > li")).to_have_text(
        [
            re.compile(r"object: Vienna → ViennaU\+200B"),
            re.compile("paraphrases: Where is {}"),
            re.compile("aliases:"),
            "valid from: 2021-01-01",
            "valid to: 2031-01-01",
            "source: a letter",
            "reverse: {} is the seat of",
        ]
    )
    expect(row.locator(".changes .items del")).to_have_text(["Zurich", "Geneva"])
    expect(row.locator(".changes .items ins")).to_have_text(["Where is {}? In", "Zurich, Geneva"])
    expect(row.locator(".changes .items span")).to_have_text(["Bern"])
    expect(row).to_contain_text("a book")
    expect(row).to_contain_text(ACME.id)


def test_a_new_fact_and_one_that_ends_are_shown_whole(page: Page, proposing: Running) -> None:
    metadata = {"relation": "seat", "qualifier": "2031", "object_before": "Rome"}
    fact = {"subject": "Globex", "prompt": "{} sits in", "object": "Bonn", **metadata}
    with proposing.client() as client:
        assert client.post("/facts", json={"facts": [fact]}).status_code == 202
        assert client.delete(f"/facts/{ACME.id}").status_code == 202
    tab(page, "Proposals")
    rows = page.locator("#proposal-table tbody tr")
    expect(rows).to_have_count(2)
    added, removed = rows.all()
    expect(added).to_contain_text("Add: Globex sits in")
    for name, value in fact.items():
        expect(added.locator(".changes")).to_contain_text(f"{name.replace('_', ' ')}: {value}")
    expect(added.locator(".changes")).to_contain_text("namespace: default")
    expect(removed).to_contain_text("Remove: The capital of ACME is")
    expect(removed.locator("del")).to_have_text(["ACME", ACME.prompt, "Vienna", "default"])


def test_a_key_proposes_and_another_one_approves(browser: Browser, proposing: Running) -> None:
    keys = proposing.service.keys
    tokens = {role: keys.make(role.name, role) for role in (Role.propose, Role.approve)}
    with console(browser, proposing.url, refused=1) as page:
        page.fill("#key", tokens[Role.propose])
        page.get_by_role("button", name="Use").click()
        expect(page.locator("#state")).to_contain_text("role: propose")
        ask(page, "The founder of Globex is")
        page.get_by_role("button", name="Add a fact").click()
        fill(page, subject="Globex", object="Bonn", reason="founded")
        page.click("#f-save")
        expect(page.locator("#message")).to_contain_text("somebody else has to approve it")
        tab(page, "Proposals")
        expect(page.get_by_role("button", name="Reject")).to_be_visible()
        expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        page.evaluate("sessionStorage.clear()")
    with console(browser, proposing.url, refused=1) as page:
        page.fill("#key", tokens[Role.approve])
        page.get_by_role("button", name="Use").click()
        expect(page.locator("#state")).to_contain_text("role: approve")
        tab(page, "Proposals")
        page.get_by_role("button", name="Approve").click()
        expect(page.locator("#message")).to_contain_text("Approved: proposal 1")
        expect(page.locator("#proposal-table")).to_contain_text("Nothing waits")
        ask(page, "The founder of Globex is")
        expect(page.locator("#answer mark")).to_have_attribute("title", "Globex: Bonn")


def test_a_key_that_only_reads_is_offered_no_change(browser: Browser, served: Running) -> None:
    token = served.service.keys.make("reader", Role.read)
    with console(browser, served.url, refused=1) as page:
        page.fill("#key", token)
        page.get_by_role("button", name="Use").click()
        expect(page.locator("#state")).to_contain_text("role: read")
        ask(page, FORMER)
        expect(page.get_by_role("button", name="Should answer")).to_be_visible()
        expect(page.get_by_role("button", name="Add wording")).to_have_count(0)
        expect(page.get_by_role("button", name="Add a fact")).to_be_hidden()
        tab(page, "Facts")
        expect(page.get_by_role("button", name="History")).to_have_count(3)
        expect(page.get_by_role("button", name="Change")).to_have_count(0)
        expect(page.get_by_role("button", name="New fact")).to_be_hidden()


# Generations


def test_a_long_list_grows_by_a_page_where_somebody_wants_more(page: Page, served: Running) -> None:
    for number in range(26):
        served.service.store.set_object(ACME.id, f"Town {number}")
    tab(page, "Facts")
    row_of(page, ACME.subject).get_by_role("button", name="History").click()
    values = page.locator("#history ol > li")
    expect(values).to_have_count(25)
    page.locator("#history").get_by_role("button", name="Show more").click()
    expect(values).to_have_count(27)
    expect(values.nth(25)).to_contain_text("object: Town 23 → Town 24")
    expect(page.locator("#history").get_by_role("button", name="Show more")).to_be_hidden()
    tab(page, "Generations")
    expect(page.locator("#generation-table tbody tr")).to_have_count(25)
    page.click("#generations-next")
    expect(page.locator("#generation-table tbody tr")).to_have_count(2)


def test_an_older_generation_is_published_and_the_page_says_that_changes_wait(
    page: Page, served: Running
) -> None:
    served.service.store.set_object(ACME.id, "Tokyo")
    tab(page, "Generations")
    rows = page.locator("#generation-table tbody tr")
    expect(rows.first).to_contain_text("live")
    rows.first.get_by_role("button", name="Diff").click()
    expect(page.locator("#diff")).to_contain_text("object: Vienna → Tokyo")
    rows.last.get_by_role("button", name="Publish").click()
    expect(rows.last).to_contain_text("live, published")
    expect(rows.first).to_contain_text("waits")
    ask(page, ACME.text)
    expect(page.locator("#answer")).to_contain_text("Vienna")
    tab(page, "Facts")
    expect(page.locator("#stale")).to_contain_text("Generation 1 was published")
    row_of(page, BASEL.subject).get_by_role("button", name="Change").click()
    fill(page, object="Bonn")
    page.click("#f-save")
    expect(page.locator("#message")).to_contain_text("It waits: generation 1 was published")
    page.get_by_role("button", name="Publish the newest").click()
    expect(page.locator("#waiting")).to_be_hidden()
    ask(page, ACME.text)
    expect(page.locator("#answer")).to_contain_text("Tokyo")


def test_a_generation_is_rolled_back(page: Page) -> None:
    tab(page, "Facts")
    row_of(page, BASEL.subject).get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator("#message")).to_contain_text("Removed: Basel stands in Rome")
    expect(row_of(page, BASEL.subject)).to_have_count(0)
    tab(page, "Generations")
    rows = page.locator("#generation-table tbody tr")
    expect(rows).to_have_count(2)
    rows.last.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(rows).to_have_count(3)
    tab(page, "Facts")
    expect(row_of(page, BASEL.subject)).to_have_count(1)
