"""The pages beside the lessons: their links lead somewhere, and the glossary is in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.lessons import EXAMPLES

PAGES = sorted(EXAMPLES.glob("*.md"))
ENTRY = re.compile(r"^\*\*(.+)\*\* \((.+?)\): (.+) \[.+\]\((.+)\)$")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert len(links) > 10
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_the_glossary_is_alphabetical_and_has_korean_terms() -> None:
    paragraphs = (EXAMPLES / "GLOSSARY.md").read_text(encoding="utf-8").strip().split("\n\n")[2:]
    entries = [ENTRY.match(paragraph) for paragraph in paragraphs]
    odd = [p for p, entry in zip(paragraphs, entries, strict=True) if entry is None]
    assert odd == []
    terms = [entry[1].lower() for entry in entries if entry]
    assert len(terms) >= 60
    assert terms == sorted(set(terms))
    for entry in entries:
        assert entry
        assert re.search(r"[가-힣]", entry[2]), entry[1]
        assert entry[3].endswith("."), entry[1]
