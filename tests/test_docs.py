"""What the pages link to, show and name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(one for place in (".", "docs/**", "examples") for one in ROOT.glob(f"{place}/*.md"))
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def links_of(page: Path) -> list[str]:
    """Links and pictures that lead to this repository."""
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    return [link for link in links if not re.match(r"[a-z]+:", link)]


def anchors_of(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for link in links_of(page):
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not fragment or fragment in anchors_of(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = text_of(page)
    for path in re.findall(r"`((?:benchmarks|deploy|docs|recipes)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
        assert any((room / path).exists() for room in (ROOT, ROOT / "src" / "revisor")), path


def test_every_page_of_the_docs_can_be_reached_from_readme() -> None:
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        linked = {(page.parent / link.partition("#")[0]).resolve() for link in links_of(page)}
        left += [other for other in linked - reached if other.suffix == ".md"]
    assert set(PAGES) - reached <= {ROOT / "CHANGELOG.md"}
