import inspect
import itertools
import json
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from fedmi.mi.trust import bench
from fedmi.study import figures, outcomes, publish, tables, trends
from fedmi.study.tables import HELD_OUT, RIDGE
from tests.study.test_outcomes import rows_of

ROOT = Path(__file__).parents[2]
WHERE = dict(task="signal", coupling="null")
PAIRS = ("0-1", "0-2", "1-2")


def grid(*, like=(), **columns):
    """A table with a row for every combination; columns named in `like` are 1."""
    product = pd.DataFrame(itertools.product(*columns.values()), columns=list(columns))
    return product.assign(**{name: 1.0 for name in like if name not in columns})


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def mi():
    table = grid(
        estimator=("gaussian", "ksg"), pair=PAIRS, iteration=(1, 2, 4), like=tables.MI_COLUMNS
    )
    return table.assign(**WHERE, net_bits=1.0 * table.iteration, perm_sd=0.5)


@pytest.fixture
def learning():
    table = grid(metric=("mse", HELD_OUT + "mse"), client=range(3), iteration=range(4))
    mean = 2 - table.iteration / 4
    return table.assign(**WHERE, mean=mean, low=mean - 0.1, high=mean + 0.1)


@pytest.fixture
def regression(learning):
    """The table with the error of two targets, and of ridge regression."""
    names = [f"{before}mse of {of}" for before in (HELD_OUT, RIDGE) for of in ("shift", "scale")]
    more = grid(metric=names, client=range(3), iteration=range(4)).assign(**WHERE)
    mean = 1 - more.iteration / 8
    mean = mean.where(more.metric.str.startswith(HELD_OUT), 0.25)
    return pd.concat([learning, more.assign(mean=mean, low=mean - 0.1, high=mean + 0.1)])


def test_the_error_of_each_target_stands_beside_the_metric(mi, learning, regression):
    plain, figure = (figures.mutual_information(mi, of, 1.0) for of in (learning, regression))
    assert len(figure.axes) == len(plain.axes) + 1 == 4
    (axes,) = [axes for axes in figure.axes if "each target" in axes.get_title(loc="left")]
    drawn = lines(axes)
    for target in ("shift", "scale"):
        np.testing.assert_allclose(drawn[target], [[i, 1 - i / 8] for i in range(4)])
        assert set(drawn[f"{target}, ridge regression"][:, 1]) == {0.25}


def test_every_estimator_has_a_panel_beside_the_targets(mi, regression):
    more = pd.concat([mi, mi[mi.estimator == "ksg"].assign(estimator="gaussian_copula")])
    figure = figures.mutual_information(more, regression)
    assert len(figure.axes) == 5 and "each target" in titles(figure)[-1]
    assert "shift" in lines(figure.axes[-1])


@pytest.fixture
def distances():
    table = grid(
        metric=("euclidean", "manhattan", "chebyshev"), pair=PAIRS, iteration=(1, 2, 4)
    ).assign(**WHERE, distance_se=0.1)
    return table.assign(distance=1.0 * table.iteration, unmatched=2.0 * table.iteration)


def lines(axes):
    """By label; errorbars' lines, too."""
    bars = {each.get_label(): each.lines[0] for each in axes.containers}
    found = {line.get_label(): line for line in axes.get_lines()} | bars
    return {label: np.asarray(line.get_xydata(), float) for label, line in found.items()}


def half_lengths(axes):
    """Of the first error bars drawn."""
    (bars,) = axes.containers[0].lines[2]
    return [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def legends(figure):
    """What the legend below the panels says."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_mutual_information_tells_what_is_read_and_what_is_left(mi, learning):
    mi = mi.assign(raw_bits=mi.iteration + 5.0, null_bits=4.0, perm_bits=1.0)
    figure = figures.mutual_information(mi, learning, baseline=1.0)
    assert titles(figure) == [
        "(a) MI by the Gaussian formula",
        "(b) MI by KSG",
        "(c) mean squared error",
    ]
    gaussian, ksg, metric = figure.axes
    for axes in (gaussian, ksg):
        drawn = lines(axes)
        np.testing.assert_array_equal(drawn["net: the difference"], [[1, 1], [2, 2], [4, 4]])
        uncorrected = drawn["uncorrected, as in the paper"]
        np.testing.assert_array_equal(uncorrected, [[1, 6], [2, 7], [4, 9]])
        np.testing.assert_array_equal(drawn["re-paired seeds: nothing shared"][:, 1], 5)
        edges = axes.collections[0].get_paths()[0].vertices  # a band of 1.96 perm_sd
        assert (edges[:, 1].min(), edges[:, 1].max()) == (1 - 1.96 * 0.5, 4 + 1.96 * 0.5)
    np.testing.assert_allclose(lines(metric)["in training"][:, 1], [2, 1.75, 1.5, 1.25])
    np.testing.assert_allclose(half_lengths(metric), 0.1)
    assert "best constant" in lines(metric)
    assert len(legends(figure)) == 6 and not any(axes.get_legend() for axes in figure.axes)


def test_of_several_k_the_first_is_drawn(mi, learning):
    more = pd.concat([mi, mi[mi.estimator == "ksg"].assign(k=5.0, net_bits=9.0)])
    assert tables.first_k(more.reset_index(drop=True)).equals(mi)
    gaussian = mi[mi.estimator == "gaussian"]
    assert tables.first_k(gaussian) is gaussian


def test_infinite_mutual_information_is_drawn_by_its_finite_part_and_marked(mi, learning):
    infinite = mi.assign(net_bits=np.inf, finite_bits=3.0, raw_bits=np.inf)
    figure = figures.mutual_information(infinite, learning)
    drawn = lines(figure.axes[0])
    np.testing.assert_array_equal(drawn["net: the difference"][:, 1], 2.0)
    marked = "infinite: what is left beside the shared directions"
    np.testing.assert_array_equal(drawn[marked], [[1, 2], [2, 2], [4, 2]])
    assert marked in legends(figure)


def test_a_study_of_one_estimator_has_no_empty_panel(mi, learning):
    figure = figures.mutual_information(mi[mi.estimator == "ksg"], learning)
    assert titles(figure) == ["(a) MI by KSG", "(b) mean squared error"]


def test_distances_have_the_papers_panels_with_bars_of_95_percent(distances):
    figure = figures.distances(distances)
    names = ["(a) Euclidean distance", "(b) Manhattan distance", "(c) Chebyshev distance"]
    assert titles(figure)[:3] == names
    drawn = lines(figure.axes[2])
    np.testing.assert_array_equal(drawn["clients of one seed"], [[1, 1], [2, 2], [4, 4]])
    np.testing.assert_array_equal(drawn["clients of different seeds"][:, 1], [2, 4, 8])
    closer = np.asarray(figure.axes[5].get_lines()[0].get_ydata(), float)
    np.testing.assert_allclose(closer, 50)
    np.testing.assert_allclose(half_lengths(figure.axes[0]), 1.96 * 0.1)
    # The unmatched distance, 2, 4 and 8, is a mean over four times as many pairs.
    error = 196 * 0.1 * np.sqrt(1.25) / np.array([2, 4, 8])
    np.testing.assert_allclose(half_lengths(figure.axes[3]), error)
    assert "bars: 95 %" in figure.get_suptitle()
    assert len(set(legends(figure))) == len(legends(figure)) == 2


def test_iterations_are_whole_and_no_style_stays_behind(distances):
    before = mpl.rcParams.copy()
    for last in (2, 4, 20):
        axes = figures.distances(distances.replace(dict(iteration={4: last}))).axes[-1]
        ticks = axes.get_xticks()
        assert axes.get_xlabel() == "iteration" and len(ticks) > 1
        np.testing.assert_array_equal(ticks, np.round(ticks))
    assert mpl.rcParams == before


def test_the_papers_figures_have_the_papers_numbers():
    assert figures.figure_names("signal") == ("figure1-signal-mi", "figure3-signal-distances")
    assert figures.figure_names("digits") == ("figure2-digits-mi", "figure4-digits-distances")
    assert figures.figure_names("mine") == ("mine-mi", "mine-distances")


FITTING = (2.0, "some", 1.0, 2.0)
ABOVE = (9.0, "above", np.nan, np.nan)
INFINITE = (np.inf, "some", np.inf, np.inf)


@pytest.mark.parametrize(
    ("readings", "each", "together"),
    [
        (
            [(2.0, "some", 3.5, 4.5), (2.0, "some", 3.5, np.inf)],
            ["reads 2.00; truth: 3.5 to 4.5", "reads 2.00; truth: 3.5 or more"],
            "agree: 3.5 to 4.5",
        ),
        (
            [FITTING, ABOVE],
            ["", "reads 9.00; truth: none of those tried"],
            "contradict",
        ),
        ([INFINITE, FITTING], ["reads inf; truth: infinity", ""], "contradict"),
        ([INFINITE, INFINITE], ["", ""], "agree: infinity"),
        ([FITTING], [""], None),
    ],
)
def test_calibration_says_what_fits_each_reading_and_whether_estimators_agree(
    readings, each, together
):
    table = grid(estimator=("gaussian", "ksg"), family=("few", "all"), true_bits=(0.0, 4.0, 8.0))
    bands = table.assign(mean=table.true_bits / 2, sd=0.1)
    columns = ["net_bits", "fits", "truth_low", "truth_high"]
    trust = pd.DataFrame(readings, columns=columns).assign(**WHERE)
    trust["estimator"] = ["gaussian", "ksg"][: len(trust)]
    figure = figures.calibration(bands, trust)
    np.testing.assert_allclose(lines(figure.axes[0])["all"], [[0, 0], [4, 2], [8, 4]])
    for axes, words, (bits, _, low, _) in zip(figure.axes, each, readings, strict=True):
        assert axes.get_title(loc="left").endswith(words)
        assert bool(axes.patches) == (np.isfinite(bits) and np.isfinite(low))
        assert axes.get_ylim()[1] > bits or np.isinf(bits)
    said = figure.get_suptitle()
    assert f"the estimators {together}" in said if together else "estimators" not in said


def test_couplings_stand_side_by_side():
    table = grid(
        coupling=("null", "shared-source", "shared-init"), iteration=(1, 4), like=trends.COLUMNS
    )
    table = table.assign(
        task="digits",
        net_bits=1.0 * table.iteration,
        infinite=table.coupling == "shared-init",
        shared_directions=9 - table.iteration,
        predicted_bits=np.where(table.coupling == "shared-source", 7.0, np.nan),
    )
    figure = figures.couplings(table)
    # Above the readings, below the distances, and a second axis that counts shared directions.
    null, source, init, *_, counted = figure.axes
    assert len(figure.axes) == 7 and titles(figure)[:3] == list(table.coupling.unique())
    overlap = "MI that the overlap of data seen makes"
    np.testing.assert_allclose(lines(null)["net MI"], [[1, 1], [4, 4]])
    np.testing.assert_allclose(lines(source)[overlap], [[1, 7], [4, 7]])
    assert any(label.startswith("infinite") for label in lines(init))
    assert overlap not in lines(init)
    np.testing.assert_allclose(lines(counted)["shared directions (right)"], [[1, 8], [4, 5]])
    assert counted.get_ylim()[0] == 0 and counted.get_ylim()[1] > 8
    assert len(set(legends(figure))) == len(legends(figure)) == 6


def test_a_specification_curve_sorts_points_and_marks_their_choices():
    table = pd.DataFrame(
        rows_of("default")
        + rows_of("falls", rise=-2.0, **{"by choice": "b"})
        + rows_of("open", rise=0.1)
        + rows_of("refused", rise=np.nan, why_not="too few")
        + rows_of("control", rise=90.0, control=True)
    )
    figure = figures.choices(table, outcomes.judge(table), "N = 4,000")
    rises, *_, marks = figure.axes
    drawn = {each.get_label(): each.lines[0].get_xydata() for each in rises.containers}
    assert set(drawn) == {"holds", "open", "fails"}
    np.testing.assert_allclose(drawn["fails"], [[0, -2]])
    np.testing.assert_allclose(drawn["open"], [[1, 0.1]])
    np.testing.assert_allclose(drawn["holds"], [[2, 5]])
    assert rises.get_title(loc="left").endswith("holds 1, open 1, fails 1, refused 1")
    assert [text.get_text() for text in marks.get_yticklabels()] == ["choice: a", "b", "other: a"]
    chosen = [points.get_offsets().tolist() for points in marks.collections]
    assert chosen == [[[1, 0], [2, 0]], [[0, 1]], [[0, 2], [1, 2], [2, 2]]]


def test_a_bench_shows_truth_sizes_and_what_is_refused():
    table = grid(
        estimator=("gaussian", "ksg"), n=(10, 100), asked_bits=(0.0, 2.0, 4.0), like=bench.COLUMNS
    )
    table = table[(table.n == 100) | (table.asked_bits != 2)]
    table = table.assign(
        dimension=3,
        family="all directions",
        true_bits=table.asked_bits,
        net_bits=np.where(table.n == 10, np.nan, table.asked_bits - 1),
        ceiling_bits=np.where(table.estimator == "ksg", 6.0, np.nan),
    )
    gaussian, ksg, sizes, _ = figures.bench(table).axes
    np.testing.assert_allclose(lines(gaussian)["all directions"], [[0, -1], [2, 1], [4, 3]])
    assert not gaussian.texts and [text.get_text() for text in ksg.texts] == ["ceiling"]
    assert sizes.get_title(loc="left").startswith("truth: 4 bits")
    np.testing.assert_allclose(sizes.get_lines()[1].get_xydata(), [[10, np.nan], [100, -1]])


def test_aggregators_stand_left_and_right_of_the_mean():
    less = {"mean": 0.0, "coordinate median": 0.1, "server step": -0.2, "each client alone": 0.4}
    table = grid(setting=("null", "skewed"), iteration=(1, 20), method=less)
    table = table.assign(
        task="digits",
        reference=table.method == "each client alone",
        objective_less_mean=table.method.map(less) / table.iteration,
        objective_less_mean_se=0.01,
    )
    figure = figures.aggregators(table)
    left = figure.axes[0]
    assert titles(figure) == ["null", "skewed"]
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["server step", "coordinate median", "each client alone"]
    np.testing.assert_allclose(lines(left)["iteration 1"][:, 0], [-0.2, 0.1, 0.4])
    np.testing.assert_allclose(lines(left)["iteration 20"][:, 0], [-0.01, 0.005, 0.02])


def test_a_landscape_has_its_marks_and_its_barrier():
    points = grid(what=["grid"], x=np.linspace(-1, 1, 5), y=np.linspace(-1, 1, 5))
    names = ("client 0", "client 1", "client 2", "mean", "oracle: plane of the clients")
    marks = [dict(what=name, x=i / 9, y=i / 7) for i, name in enumerate(names)]
    where = dict(task="signal", setting="skewed")
    surface = pd.concat([points.assign(objective=points.x**2 + points.y), pd.DataFrame(marks)])
    barrier = grid(iteration=(1, 20), place=(0.0, 0.5, 1.0)).assign(**where, excess_se=0.1)
    barrier["excess"] = -barrier.iteration * barrier.place
    plane, between, *_ = figures.landscape(surface.assign(**where), barrier).axes
    np.testing.assert_allclose(lines(plane)["mean"], [[3 / 9, 3 / 7]])
    assert len(lines(plane)["clients"]) == 3
    np.testing.assert_allclose(lines(between)["iteration 20"][:, 1], [0, -10, -20])


def test_rounds_are_drawn_for_parameters_and_updates():
    table = grid(round=(1, 5), what=("parameters", "updates"), iteration=(1, 20))
    table = table.assign(
        **WHERE,
        net_bits=table["round"] * 10.0,
        net_se=0.1,
        distance=1.0 * table["round"],
        distance_se=0.1,
        unmatched=2.0 * table["round"],
    )
    figure = figures.rounds(table)
    what = ("MI of the parameters", "MI of the updates", "Euclidean distance")
    assert titles(figure) == [f"null: {words}" for words in what]
    np.testing.assert_allclose(lines(figure.axes[0])["round 5"], [[1, 50], [20, 50]])
    np.testing.assert_allclose(half_lengths(figure.axes[2]), 1.96 * 0.1)


CELLS = (
    """import pandas as pd
from fedmi.study import figures
table = pd.read_json("distances.json")""",
    "first = figures.distances(table)",
    "second = figures.distances(table)",
    "import matplotlib.pyplot as plt\nlines = plt.plot([1, 2])",
    "third = figures.distances(table)\nlines = plt.figure().gca().plot([1, 2])",
)


def test_every_figure_of_a_kernel_is_shown_and_the_users_own_too(distances, tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    distances.to_json(tmp_path / "distances.json")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    resources = dict(metadata=dict(path=str(tmp_path)))
    nbclient.NotebookClient(notebook, kernel_name="python3", resources=resources).execute()
    pictures = [
        sum("image/png" in output.get("data", {}) for output in cell.outputs)
        for cell in notebook.cells
    ]
    assert pictures == [0, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("changes", "unlike"),
    [
        ({}, ""),
        (dict(client_examples=[100, 100, 100]), ""),
        (dict(options=dict(label_concentration=0.5)), "label concentration 0.5, "),
        (dict(options=dict(source_skew=0.75)), "source skew 0.75, "),
        (dict(rounds=3, client_examples=[50, 100]), "50, 100 examples, round 3, "),
        (dict(options=dict(reading="vector")), ""),
        (
            dict(options=dict(reading="frames", source_skew=0.5)),
            "reading “frames”, source skew 0.5, ",
        ),
    ],
)
@pytest.mark.parametrize("chaotic", [False, True])
def test_a_title_says_what_sets_a_study_apart_how_large_it_is_and_its_scale(
    distances, tmp_path, changes, unlike, chaotic
):
    parameters = dict(options=dict(learning_rate=0.1), examples=100) | changes
    made = dict(seeds=22010, non_finite_seeds=10, parameters=parameters)
    made |= dict(stability=dict(chaotic=chaotic))
    (tmp_path / "manifest.json").write_text(json.dumps(made))
    caption = figures.caption_of(tmp_path / "manifest.json", "paper")
    warning = "chaotic training, " if chaotic else ""
    assert caption == f"{warning}{unlike}N = 22,000, scale “paper”"
    title = figures.distances(distances, caption).get_suptitle()
    assert title.startswith(f"signal variation prediction, coupling “null”, {caption}\n")


def test_a_caption_of_several_studies_says_their_range():
    assert figures.caption("quick", pd.Series([10, 2000])) == "N = 10 to 2,000, scale “quick”"


def test_every_figure_that_a_notebook_draws_has_a_caption():
    drawing = {
        name
        for name, found in inspect.getmembers(figures, inspect.isfunction)
        if inspect.signature(found).return_annotation is Figure
    }
    assert len(drawing) == 15
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        calls = re.findall(rf"figures\.({'|'.join(drawing)})\((.*)\)", code)
        assert all("caption" in arguments for _, arguments in calls), (path, calls)


PUBLISHED = [entry for entry in publish.read(ROOT / "figures" / "manifest.json") if entry.files]


@pytest.mark.slow
@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_every_published_figure_can_be_read(entry):
    """At 840 pixels letters have 8 points, and no word is cut off or runs into another panel's."""
    figure, _ = entry.draw(ROOT / "figures")
    width, height = figure.get_size_inches() * figure.dpi
    assert figure.get_size_inches()[0] == figures.style.WIDTH
    figure.canvas.draw()
    words = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in words) >= figures.style.SMALL
    beside = [figure._suptitle, *(text for legend in figure.legends for text in legend.get_texts())]
    own = [
        text
        for axes in figure.axes
        for text in (*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label)
    ]
    for text in (*beside, *own):
        if text.get_text():
            box = text.get_window_extent()
            assert -1 <= box.x0 and box.x1 <= width + 1, text.get_text()
            assert -1 <= box.y0 and box.y1 <= height + 1, text.get_text()
    titles = [
        axes._left_title.get_window_extent() for axes in figure.axes if axes.get_title(loc="left")
    ]
    for a, b in itertools.combinations(titles, 2):
        assert not a.overlaps(b)
    for axes in figure.axes:
        if axes.get_xlabel().startswith("iteration") or axes.get_xlabel() == "round":
            np.testing.assert_array_equal(axes.get_xticks(), np.round(axes.get_xticks()))
