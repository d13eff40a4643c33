"""The glossary beside the lessons is in order. Links of all pages: tests/test_pages.py."""

from __future__ import annotations

import re

from tests.examples.lessons import EXAMPLES

ENTRY = re.compile(r"^\*\*(.+)\*\* \((.+?)\): (.+) \[.+\]\((.+)\)$")


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
