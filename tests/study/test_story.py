import re
from pathlib import Path

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
