import inspect
import json
import re
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest

from fedmi.mi.trust import bench
from fedmi.study import figures, tables, trends

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("quickly_compiled")


@pytest.fixture
def mi():
    rows = []
    for estimator in ("gaussian", "ksg"):
        for pair in ("0-1", "0-2", "1-2"):
            for iteration in (1, 2, 4):
                row = dict.fromkeys(tables.MI_COLUMNS, 1.0)
                row |= dict(task="signal", coupling="null", pair=pair, iteration=iteration)
                row |= dict(estimator=estimator, net_bits=float(iteration), perm_sd=0.5)
                rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture
def learning():
    rows = [
        dict(
            task="signal", coupling="null", client=client, iteration=iteration, metric=metric,
            mean=2.0 - iteration / 4, low=1.9 - iteration / 4, high=2.1 - iteration / 4,
        )
        for metric in ("mse", tables.HELD_OUT + "mse")
        for client in range(3)
        for iteration in range(4)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def distances():
    return pd.DataFrame(
        dict(
            task="signal", coupling="null", pair=pair, iteration=iteration, metric=metric,
            distance=float(iteration), unmatched=2.0 * iteration, distance_se=0.1,
        )
        for metric in ("euclidean", "manhattan", "chebyshev")
        for pair in ("0-1", "0-2", "1-2")
        for iteration in (1, 2, 4)
    )  # fmt: skip


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_of_several_k_the_first_is_drawn(mi, learning):
    more = pd.concat([mi, mi[mi.estimator == "ksg"].assign(k=5.0, net_bits=9.0)])
    assert tables.first_k(more.reset_index(drop=True)).equals(mi)
    gaussian = mi[mi.estimator == "gaussian"]
    assert tables.first_k(gaussian) is gaussian


def test_figure_of_mutual_information_has_the_papers_panels(mi, learning):
    figure = figures.mutual_information(mi, learning, baseline=1.0)
    titled = {axes.get_title(loc="left"): axes for axes in figure.axes}
    gaussian, ksg, metric = (titled[name] for name in sorted(titled) if name)
    for axes in (gaussian, ksg):
        np.testing.assert_array_equal(lines(axes)["(0, 1)"], [[1, 1], [2, 2], [4, 4]])
        assert {"(0, 2)", "(1, 2)"} < lines(axes).keys()
    assert "best constant" in lines(metric)
    drawn = lines(metric)["client 2, in training"]
    np.testing.assert_allclose(drawn[:, 1], [2, 1.75, 1.5, 1.25])


def test_infinite_mutual_information_is_drawn_by_its_finite_part(mi, learning):
    mi["net_bits"] = mi["bits"] = np.inf
    mi["finite_bits"], mi["perm_bits"] = 3.0, 1.0
    figure = figures.mutual_information(mi, learning)
    np.testing.assert_array_equal(lines(figure.axes[0])["(0, 1) finite part"][:, 1], 2.0)


def test_a_study_of_one_estimator_is_drawn(mi, learning):
    figure = figures.mutual_information(mi[mi.estimator == "ksg"], learning)
    assert figure.axes[0].texts[0].get_text() == "not estimated"
    assert figure.axes[0].get_title(loc="left") == "(a) MI, Gaussian formula"


def test_figure_of_distances_has_the_papers_panels(distances):
    figure = figures.distances(distances)
    titles = [axes.get_title(loc="left") for axes in figure.axes[:3]]
    assert titles == ["(a) Euclidean distance", "(b) Manhattan distance", "(c) Chebyshev distance"]
    np.testing.assert_array_equal(lines(figure.axes[2])["(1, 2)"], [[1, 1], [2, 2], [4, 4]])
    np.testing.assert_array_equal(lines(figure.axes[2])["other seeds"][:, 1], [2, 4, 8])
    closer = next(iter(figure.axes[5].get_lines())).get_ydata()
    np.testing.assert_allclose(closer, 50)


def half_lengths(axes):
    """Of the first error bars drawn."""
    (bars,) = axes.containers[0].lines[2]
    return [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]


def test_distances_have_bars_of_95_percent_and_say_so(distances):
    figure = figures.distances(distances)
    np.testing.assert_allclose(half_lengths(figure.axes[0]), 1.96 * 0.1)
    # The unmatched distance, 2, 4 and 8, is a mean over four times as many pairs.
    error = 196 * 0.1 * np.sqrt(1.25) / np.array([2, 4, 8])
    np.testing.assert_allclose(half_lengths(figure.axes[3]), error)
    assert "bars: 95 %" in figure.get_suptitle()


def test_the_papers_figures_have_the_papers_numbers():
    assert figures.figure_names("signal") == ("figure1-signal-mi", "figure3-signal-distances")
    assert figures.figure_names("digits") == ("figure2-digits-mi", "figure4-digits-distances")
    assert figures.figure_names("mine") == ("mine-mi", "mine-distances")


@pytest.fixture
def bands():
    return pd.DataFrame(
        dict(estimator=estimator, family=family, true_bits=truth, mean=truth / 2, sd=0.1)
        for estimator in ("gaussian", "ksg")
        for family in ("concentrated", "dense")
        for truth in (0.0, 4.0, 8.0)
    )


def test_calibration_shows_what_fits_the_reading(bands):
    row = dict(task="signal", coupling="null", net_bits=2.0, truth_low=3.5, truth_high=4.5)
    trust = pd.DataFrame(
        [row | dict(estimator="gaussian"), row | dict(estimator="ksg", truth_high=np.inf)]
    )
    axes = figures.calibration(bands, trust).axes
    titles = [a.get_title(loc="left") + a.get_title() for a in axes]
    assert titles[0].endswith("reads 2.00: truth 3.5 to 4.5")
    assert titles[1].endswith("reads 2.00: truth 3.5 upwards")
    assert (
        axes[0].figure.get_suptitle().endswith("the estimators agree: 3.5 to 4.5 fits all of them")
    )
    np.testing.assert_allclose(lines(axes[0])["dense"], [[0, 0], [4, 2], [8, 4]])
    unseen = pd.DataFrame([row | dict(estimator="ksg", truth_low=np.nan, net_bits=-9.0)])
    (only,) = figures.calibration(bands, unseen).axes
    title = only.get_title(loc="left") + only.get_title()
    assert title.endswith("reads -9.00: fits none of those tried (up to 8)")
    assert only.get_ylim()[0] <= -9.0


def test_a_reading_beyond_all_surrogates_fits_none_and_contradicts_the_others(bands):
    row = dict(task="signal", coupling="null", net_bits=2.0, truth_low=3.5, truth_high=4.5)
    beyond = row | dict(estimator="ksg", net_bits=9.0, truth_low=np.nan, truth_high=np.nan)
    trust = pd.DataFrame([row | dict(estimator="gaussian"), beyond])
    figure = figures.calibration(bands, trust)
    title = figure.axes[1].get_title(loc="left")
    assert title.endswith("reads 9.00: fits none of those tried (up to 8)")
    assert figure.axes[1].get_ylim()[1] > 9.0
    assert "the estimators contradict each other" in figure.get_suptitle()
    assert not figure.axes[1].patches  # no truth is shaded


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ([(1, 3), (2, 4)], "the estimators agree: 2 to 3 fits all"),
        ([(1, 2), (2, np.inf)], "the estimators agree: 2 to 2 fits all"),
        ([(1, np.inf), (2, np.inf)], "the estimators agree: 2 upwards fits all"),
        ([(1, 2), (3, np.inf)], "the estimators contradict each other"),
        ([(1, 2), (np.nan, np.nan)], "the estimators contradict each other"),
        ([(np.inf, np.inf), (1, 2)], "the estimators contradict each other"),
        ([(np.inf, np.inf), (np.inf, np.inf)], "the estimators agree: all read infinity"),
        ([(1, 2)], "one estimator: no other"),
    ],
)
def test_estimators_agree_where_one_truth_fits_all(ranges, said):
    trust = pd.DataFrame(ranges, columns=["truth_low", "truth_high"])
    assert figures.agreement(trust).startswith(said)


def test_couplings_stand_side_by_side():
    row = dict.fromkeys(trends.COLUMNS, 1.0) | dict(task="digits", predicted_bits=np.nan)
    table = pd.DataFrame(
        row | dict(coupling=name, iteration=i, net_bits=float(i), infinite=infinite)
        | dict(shared_directions=9.0 - i, predicted_bits=predicted)
        for name, infinite, predicted in (
            ("null", False, np.nan), ("shared-source", False, 7.0), ("shared-init", True, np.nan)
        )
        for i in (1, 4)
    )  # fmt: skip
    axes = figures.couplings(table).axes
    # Two rows of three, and beside the last a second axis that counts shared directions.
    assert len(axes) == 7
    np.testing.assert_allclose(lines(axes[0])["read"], [[1, 1], [4, 4]])
    np.testing.assert_allclose(lines(axes[1])["overlap alone"], [[1, 7], [4, 7]])
    assert "finite part" in lines(axes[2]) and "overlap alone" not in lines(axes[2])
    np.testing.assert_allclose(axes[6].get_lines()[0].get_xydata(), [[1, 8], [4, 5]])


def test_a_sweep_is_a_map_of_rises_with_errors():
    table = pd.DataFrame(
        dict(task="digits", coupling=name, learning_rate=rate, batch_size=size)
        | dict(rise_bits=20.0 if rate > 0.05 else -0.1, rise_se=1.0, infinite=False)
        for name in ("null", "shared-source")
        for rate in (0.1, 0.01)
        for size in (5, 10)
    )
    left = figures.sweep(table).axes[0]
    texts = {text.get_position(): text for text in left.texts}
    # Rates rise from below.
    assert texts[0.5, 0.5].get_text() == "-0.1\n±2.0" and texts[0.5, 0.5].get_weight() == "normal"
    assert texts[1.5, 1.5].get_text() == "+20.0\n±2.0" and texts[1.5, 1.5].get_weight() == "bold"
    assert left.get_ylim() == (0, 2)
    unknown = table.assign(infinite=table.batch_size == 5)
    assert len(figures.sweep(unknown).axes[0].texts) == 2


def test_a_bench_shows_truth_sizes_and_what_is_refused():
    row = dict.fromkeys(bench.COLUMNS, np.nan) | dict(dimension=3, draw=0, family="all directions")
    table = pd.DataFrame(
        row | dict(estimator=name, n=n, asked_bits=asked, true_bits=asked, ceiling_bits=ceiling)
        | dict(net_bits=np.nan if n == 10 else asked - 1)
        for name, ceiling in (("gaussian", np.nan), ("ksg", 6.0))
        for n, truths in ((10, (0.0, 4.0)), (100, (0.0, 2.0, 4.0)))
        for asked in truths
    )  # fmt: skip
    axes = figures.bench(table).axes
    np.testing.assert_allclose(lines(axes[0])["all directions"], [[0, -1], [2, 1], [4, 3]])
    assert [text.get_text() for text in axes[1].texts] == ["ceiling"]
    assert "4 bits" in axes[2].get_title(loc="left") + axes[2].get_title()
    drawn = axes[2].get_lines()[1].get_xydata()
    np.testing.assert_allclose(drawn, [[10, np.nan], [100, -1]])


def test_aggregators_stand_left_and_right_of_the_mean():
    rows = [
        dict(
            task="digits", setting=setting, iteration=iteration, method=method,
            reference=method == "each client alone", objective_less_mean=less / iteration,
            objective_less_mean_se=0.01,
        )
        for setting in ("null", "skewed")
        for iteration in (1, 20)
        for method, less in (
            ("mean", 0.0), ("coordinate median", 0.1), ("server step", -0.2),
            ("each client alone", 0.4),
        )
    ]  # fmt: skip
    figure = figures.aggregators(pd.DataFrame(rows))
    panels = figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == ["null", "skewed"]
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names == ["server step", "coordinate median", "each client alone"]
    drawn = [np.asarray(c.lines[0].get_xdata(), float) for c in panels[0].containers]
    np.testing.assert_allclose(drawn, [[-0.2, 0.1, 0.4], [-0.01, 0.005, 0.02]])


def test_a_landscape_has_its_marks_and_its_barrier():
    places = np.linspace(-1, 1, 5)
    grid = [dict(what="grid", x=x, y=y, objective=x**2 + y) for x in places for y in places]
    names = ("client 0", "client 1", "client 2", "mean", "oracle: plane of the clients")
    marks = [dict(what=n, x=i / 9, y=i / 7, objective=0.0) for i, n in enumerate(names)]
    where = dict(task="signal", setting="skewed", iteration=20)
    surface = pd.DataFrame(grid + marks).assign(**where)
    barrier = pd.DataFrame(
        dict(where, iteration=i, seeds=9, place=place, excess=-i * place, excess_se=0.1)
        for i in (1, 20)
        for place in (0.0, 0.5, 1.0)
    )
    figure = figures.landscape(surface, barrier)
    plane = next(axes for axes in figure.axes if axes.get_title(loc="left") == "skewed")
    found = lines(plane)
    np.testing.assert_allclose(found["mean"], [[3 / 9, 3 / 7]])
    assert len(found["clients"]) == 3


def test_rounds_are_drawn_for_parameters_and_updates():
    rows = [
        dict(
            task="digits", coupling="null", what=what, iteration=iteration, net_bits=number * 10.0,
            net_se=0.1, distance=1.0 * number, distance_se=0.1, unmatched=2.0 * number,
            round=number,
        )
        for number in (1, 5)
        for what in ("parameters", "updates")
        for iteration in (1, 20)
    ]  # fmt: skip
    figure = figures.rounds(pd.DataFrame(rows))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "null: MI of the parameters",
        "null: MI of the updates",
        "null: Euclidean distance",
    ]
    np.testing.assert_allclose(lines(figure.axes[0])["5"], [[1, 50], [20, 50]])


KERNEL = """
import pandas as pd
from fedmi.study import figures
table = pd.read_json({table!r})
"""
CELLS = (
    "first = figures.distances(table)",
    "second = figures.distances(table)",
    "import matplotlib.pyplot as plt\nlines = plt.plot([1, 2])",
    "third = figures.distances(table)\nlines = plt.figure().gca().plot([1, 2])",
)


def test_every_figure_of_a_kernel_is_shown_and_the_users_own_too(distances, tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    distances.to_json(tmp_path / "table.json")
    cells = [KERNEL.format(table=str(tmp_path / "table.json")), *CELLS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(
        notebook, kernel_name="python3", resources=dict(metadata=dict(path=str(ROOT)))
    )
    client.execute()
    pictures = [
        sum("image/png" in output.get("data", {}) for output in cell.outputs)
        for cell in notebook.cells
    ]
    assert pictures == [0, 1, 1, 1, 2]


def manifest(path, **changes):
    parameters = dict(options=dict(learning_rate=0.1)) | changes
    path.write_text(json.dumps(dict(seeds=22010, non_finite_seeds=10, parameters=parameters)))
    return path


def test_a_title_says_what_sets_a_study_apart_how_large_it_is_and_its_scale(distances, tmp_path):
    path = tmp_path / "manifest.json"
    assert figures.caption_of(manifest(path), "quick") == "N = 22,000, scale “quick”"
    for options, words in (
        (dict(label_concentration=0.5), "label concentration 0.5"),
        (dict(source_skew=0.75), "source skew 0.75"),
    ):
        caption = figures.caption_of(manifest(path, options=options), "paper")
        assert caption == f"{words}, N = 22,000, scale “paper”"
    other = figures.caption_of(manifest(path, rounds=3, client_examples=[50, 100]), "paper")
    assert other == "50, 100 examples, round 3, N = 22,000, scale “paper”"
    title = figures.distances(distances, caption).get_suptitle()
    assert title.startswith(
        "signal variation prediction, coupling “null”, source skew 0.75, N = 22,000, scale “paper”"
    )
    assert figures.caption("quick", pd.Series([10, 2000])) == "N = 10 to 2,000, scale “quick”"


@pytest.mark.parametrize(
    "notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_every_figure_that_a_notebook_draws_has_a_caption(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    drawing = {
        name for name, found in inspect.getmembers(figures, inspect.isfunction)
        if "caption" in inspect.signature(found).parameters and not name.startswith("_")
    }  # fmt: skip
    assert len(drawing) == 12
    calls = re.findall(rf"figures\.({'|'.join(drawing)})\((.*)\)", code)
    assert all("caption" in arguments for _, arguments in calls), calls
