"""The published figures are those of the published tables, with titles that tell them apart."""

from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from fedmi.study import redraw

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "figures"
PAPER = ROOT / "params" / "paper"


@pytest.fixture(scope="module")
def drawn():
    """By name: the title and the words of every published figure."""
    found = {}
    for made in redraw.drawings(redraw.Published(FIGURES, PAPER)):
        found[made.name] = made.figure.get_suptitle(), made.words
        plt.close(made.figure)
    return found


def test_every_published_figure_is_drawn_anew_from_its_tables(drawn):
    assert set(drawn) == {path.stem for path in FIGURES.glob("*.png")}


def test_every_title_names_n_and_the_scale_and_where_clients_are_unlike_the_skew(drawn):
    for name, (title, _) in drawn.items():
        assert "N = " in title and "scale “paper”" in title, name
        unlike = "label concentration 0.5" in title or "source skew 0.75" in title
        assert unlike == ("skewed" in name or "aggregation" in name), name
    assert drawn["digits-skewed-mi"][0] != drawn["figure2-digits-mi"][0]
    assert "N = 26,400" in drawn["digits-skewed-mi"][0]


def test_every_title_names_a_coupling_or_its_panels_do(drawn):
    apart = ("aggregation", "couplings", "estimators", "rounds", "sweep")
    for name, (title, _) in drawn.items():
        assert ("coupling “" in title) != name.startswith(apart), name
    assert "skewed: label concentration 0.5" in drawn["aggregation-digits"][0]


def test_every_page_is_written_anew(drawn):
    pages = {path.stem for path in FIGURES.glob("*.md")}
    written = {name for name, (_, words) in drawn.items() if words is not None}
    assert written == pages - {"claims", "summary", "performance", "scaling"}
    for name in written:
        assert (FIGURES / f"{name}.md").read_text() == drawn[name][1], name


def test_the_published_calibration_says_that_the_estimators_of_signal_contradict_each_other(drawn):
    assert "the estimators contradict each other" in drawn["signal-calibration"][0]
    assert "the estimators agree: 25.2 to 25.5" in drawn["digits-calibration"][0]


def test_tables_of_another_scale_are_refused():
    with pytest.raises(ValueError, match="digits-.*json tells of 26400 seeds, and .*yaml of 2000"):
        next(redraw.drawings(redraw.Published(FIGURES, ROOT / "params" / "quick")))
