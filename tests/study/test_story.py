import re
from pathlib import Path

import pytest

from fedmi.study import claims, pages, story

ROOT = Path(__file__).parents[2]
FACTS = story.facts(ROOT / "figures")
TEXT = (ROOT / "RESULTS.md").read_text()


def test_results_are_what_the_tables_say():
    assert TEXT.startswith(pages.render("story", FACTS).rstrip() + "\n\nMade ")


def test_results_are_a_page_whose_links_lead_somewhere():
    assert len(TEXT.splitlines()) <= 200
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert links and all((ROOT / link).exists() for link in links)


def test_every_claim_is_asked_in_plain_words_with_its_verdict_for_each_task():
    sections = TEXT.split("\n### ")[1:]
    assert len(sections) == len(claims.CLAIMS)
    for section, claim, of_claim in zip(sections, claims.CLAIMS, FACTS["claims"], strict=True):
        assert section.startswith(f"{claim.says} ({claim.place})\n\n")
        for of in of_claim:
            row = next(
                line for line in section.splitlines() if line.startswith(f"| [`{of['task']}`")
            )
            assert f"| **{of['finding'].outcome}** |" in row


def test_a_net_reading_has_the_same_error_as_the_claim_that_rests_on_it():
    last = {row["task"]: row["gaussian"] for row in FACTS["ends"]}
    for of in FACTS["claims"][[claim.name for claim in claims.CLAIMS].index("above_zero")]:
        effect, net = of["finding"].effect, last[of["task"]]
        assert effect.value == pytest.approx(net["net_bits"], rel=1e-12)
        assert effect.error == pytest.approx(net["net_se"], rel=1e-12)
