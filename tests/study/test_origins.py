"""Only what one commit made is published, and pages say which."""

import pytest

from fedmi.study import origins


def made(commit="1a2b3c4d5e", dirty=False, *parts, **other):
    return dict(
        code=dict(commit=commit, dirty=dirty),
        parts=list(parts),
        params=dict(file="params/paper/signal.yaml", hash="abcdef0123456789"),
        versions=dict(python="3.11", jax="0.5", numpy="2.1"),
        hardware="abacus",
        seconds=12.3,
        end="2026-01-01",
    ) | dict(other)


CHANGED = dict(commit="1a2b3c4d5e", dirty=True)
OTHER = dict(commit="ffffffffff", dirty=False)


def test_results_of_one_clean_commit_pass():
    origins.check({"one": made(), "other": made(parts=[made()["code"]])})
    assert origins.commits([made(), made()]) == ["1a2b3c4d5e"]


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (made(dirty=True), "^code: one was made from files that are in no commit"),
        (made("1a2b3c4d5e", False, CHANGED), "^code: one was made from files"),
        (made(None, None), "^code: one was made from files"),
        (None, "^code: one was made from files"),
        (made("1a2b3c4d5e", False, OTHER), "2 commits .*1a2b3c4 made one; fffffff made one"),
        (made("ffffffffff"), "2 commits .*fffffff made one; 1a2b3c4 made other"),
    ],
)
def test_anything_else_is_refused(one, said):
    with pytest.raises(ValueError, match=said):
        origins.check({"one": one, "other": made()})


def test_a_page_ends_with_what_it_was_made_from():
    page = origins.signed("# Title\n\nText\n", made())
    assert page.splitlines()[-1] == (
        "Made from commit `1a2b3c4`, of params/paper/signal.yaml (hash abcdef01), "
        "with Python 3.11, JAX 0.5 and NumPy 2.1, on abacus; "
        "its last step, from what was there, took 12 s."
    )
    assert page.startswith("# Title\n\nText\n\nMade") and page.endswith(".\n")


def test_changes_and_parts_of_other_commits_are_told():
    page = origins.signed("Text", made("1a2b3c4d5e", True, OTHER))
    assert "commit `1a2b3c4`, `fffffff`, with changes beside it, of" in page


def test_a_page_of_several_tables_names_all_commits_and_no_params_file():
    page = origins.signed("Text", made(), None, made("ffffffffff"))
    assert "`1a2b3c4`, `fffffff`, with Python 3.11" in page and "params" not in page
    assert "Made before it was written down" in origins.signed("Text", None)
