import numpy as np
import pandas as pd
import pytest
import xarray as xr

from fedmi import mi
from fedmi.scopes import COUPLINGS
from fedmi.study import results, tables, trends

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SIZE, EXAMPLES, SEEDS = 3, 20, 4000


def clients(common):
    """Two clients that add up noisy examples, so many of them in common, after half an epoch."""
    draw = np.random.default_rng(0)
    shared = np.sqrt(common) * draw.standard_normal((SEEDS, 1, SIZE))
    own = np.sqrt(EXAMPLES / 2 - common) * draw.standard_normal((SEEDS, 2, SIZE))
    noise = np.sqrt(EXAMPLES / 2) * draw.standard_normal((SEEDS, 2, SIZE))
    return shared + own + noise


def dataset(theta):
    """Half of an epoch of ten steps."""
    return xr.Dataset(
        dict(
            theta=(("seed", "client", "iteration", "parameter"), theta[:, :, None]),
            metric=(("seed", "client", "step"), np.zeros((SEEDS, 2, 10))),
        ),
        coords=dict(iteration=[5]),
    )


def test_overlap_alone_is_predicted_from_clients_with_the_same_order():
    theta = clients(common=EXAMPLES / 2)
    read = mi.gaussian(theta[:, 0], theta[:, 1]).bits
    row = dict(iteration=5, net_bits=read, net_se=0.04)
    ((predicted, error),) = trends.predicted_bits(dataset(theta), [row]).values()
    # Half of the examples seen, 5 of 10, are in common: r = 1/2 * 1/2.
    truth = -SIZE / 2 * np.log2(1 - 0.25**2)
    assert predicted == pytest.approx(truth, rel=0.1)
    assert error == pytest.approx(0.01)
    e = mi.gaussian(*clients(common=EXAMPLES / 4).swapaxes(0, 1))
    assert e.interval[0] < predicted < e.interval[1]


def test_what_does_not_stand_out_counts_by_the_square_of_the_share():
    theta = clients(common=0)
    row = dict(iteration=5, net_bits=0.8, net_se=0.04)
    assert trends.predicted_bits(dataset(theta), [row])[5] == pytest.approx((0.2, 0.01))


def study(coupling, bits, distance, *, shared=0, p_family=1 / 21):
    rows = [
        dict.fromkeys(tables.MI_COLUMNS, 0.0)
        | dict(task="digits", coupling=coupling, pair=pair, iteration=iteration)
        | dict(estimator=estimator, finite_bits=value + 0.5, perm_bits=0.5, perm_sd=0.1)
        | dict(bits=np.inf if shared else value + 0.5, shared_directions=shared)
        | dict(low=value + 0.5 - 0.196, high=value + 0.5 + 0.196, permutations=25)
        | dict(p_family=p_family)
        for iteration, value in zip((1, 20), bits, strict=True)
        for pair in ("0-1", "0-2", "1-2")
        for estimator in ("gaussian", "ksg")
    ]
    apart = [
        dict(task="digits", coupling=coupling, pair=pair, iteration=iteration, metric=metric)
        | dict(distance=value, unmatched=2.0, distance_se=0.01)
        for iteration, value in zip((1, 20), distance, strict=True)
        for pair in ("0-1", "0-2", "1-2")
        for metric in ("euclidean", "manhattan")
    ]
    return pd.DataFrame(rows), pd.DataFrame(apart)


STUDIES = {
    "null": study("null", (0.0, 0.1), (1.0, 1.5), p_family=0.8),
    "shared-source": study("shared-source", (0.1, 25.0), (1.0, 1.5)),
    "shared-source-order": study("shared-source-order", (90.0, 38.0), (1.0, 0.9)),
    "shared-init": study("shared-init", (30.0, 35.0), (1.0, 1.005), shared=264),
}


PREDICTED = {1: (0.2, 0.01), 20: (38.0, 0.1)}


def compared(predicted=None):
    return pd.DataFrame(
        row
        for name, both in STUDIES.items()
        for row in trends.coupling_rows(*both, predicted if name == "shared-source" else None)
    )


@pytest.fixture(scope="module")
def table():
    return compared(PREDICTED)


def test_rows_are_means_over_pairs_with_an_error(table):
    assert set(table.columns) == set(trends.COLUMNS)
    last = table[(table.coupling == "shared-source") & (table.iteration == 20)].iloc[0]
    assert last.net_bits == pytest.approx(25.0)
    assert last.net_se == pytest.approx(np.hypot(0.1, 0.1 / 5))
    assert (last.distance, last.distance_se, last.unmatched) == (1.5, 0.01, 2.0)
    assert (last.predicted_bits, last.predicted_se) == (38.0, 0.1)
    assert table[table.coupling == "shared-init"].infinite.all()


def test_trends_hold_fail_or_are_open(table):
    found = trends.trends(table).set_index("coupling")
    assert list(found.reset_index().columns) == [
        "coupling", *(c for c in trends.TREND_COLUMNS if c != "coupling")
    ]  # fmt: skip
    assert found.above_zero.to_dict() == {
        "null": "open", "shared-source": "holds", "shared-source-order": "holds",
        "shared-init": "holds",
    }  # fmt: skip
    assert found.truth.tolist() == ["0", "finite", "finite", "infinite"]
    assert found.rises.tolist() == ["open", "holds", "fails", "infinite"]
    assert found.distance_rises.tolist() == ["holds", "holds", "fails", "open"]
    assert found.distance_peak.tolist() == [20, 20, 1, 20]
    assert found.rise_bits["shared-source"] == pytest.approx(24.9)
    assert found.rise_se["shared-source"] == pytest.approx(np.sqrt(2) * np.hypot(0.1, 0.02))
    assert found.closer_last["shared-source"] == pytest.approx(0.25)
    assert found.closer_se["shared-source"] == pytest.approx(np.sqrt(1.25) * 0.01 / 2)


def test_a_trend_counts_where_it_would_among_all_couplings(table):
    """Of four couplings 2.5 standard errors are beyond chance; one by itself needs 1.96."""
    row = table[table.coupling == "shared-source"].iloc[[0, 0]].assign(iteration=[1, 20])
    row = row.assign(net_bits=[0.0, 2.3], net_se=np.sqrt(0.5), distance=[1.0, 3.22])
    row = row.assign(distance_se=np.sqrt(0.5))
    others = table[table.coupling != "shared-source"]
    alone = trends.trends(row).iloc[0]
    among = trends.trends(pd.concat([row, others])).iloc[0]
    assert (alone.rises, alone.distance_rises) == ("holds", "holds")
    assert (among.rises, among.distance_rises) == ("open", "open")


def test_a_rise_smaller_than_what_matters_fails(table):
    row = table[table.coupling == "shared-source"].iloc[[0, 0]].assign(iteration=[1, 20])
    row = row.assign(net_bits=[1.0, 1.05], net_se=0.001, distance=[1.0, 1.01], distance_se=1e-4)
    (found,) = trends.trends(row).to_dict("records")
    assert found["rise_bits"] > 10 * found["rise_se"] and found["rises"] == "fails"
    assert found["distance_rises"] == "fails" and found["above_zero"] == "holds"


def test_clients_of_which_it_is_open_are_not_said_not_to_get_closer(table):
    nearer = 0.5 - trends.DISTANCE * (table.iteration == 20)  # by just what matters
    found = trends.facts(table.assign(unmatched=table.distance / nearer))
    assert (found["not_closer"], found["closer_open"]) == ([], ["shared-source"])


def test_the_facts_are_those_of_the_table(table):
    found = trends.facts(table)
    assert (found["first"], found["last"]) == (1, 20)
    assert [row["coupling"] for row in found["trends"]] == list(STUDIES)
    names = {
        name: found[name]
        for name in ("infinite", "rises", "falls", "open", "turned", "claimed", "not_closer")
    }
    assert names == dict(
        infinite=["shared-init"],
        rises=["shared-source"],
        falls=["shared-source-order"],
        open=["shared-init"],  # the reading is infinite
        turned=["shared-source-order"],
        claimed=["shared-source"],
        not_closer=["shared-source"],  # 50 % closer, then 25 %
    )
    assert found["above_zero"] == ["shared-source", "shared-source-order", "shared-init"]
    assert found["farther"] == ["null", "shared-source"]


@pytest.mark.parametrize(
    ("predicted", "agree", "explains"),
    [
        ((0.2, 38.0), 1, "more"),
        ((0.2, 25.1), 2, "all"),
        ((0.2, 9.2), 1, "part"),
        ((9.0, 2.0), 0, "none"),
    ],
)
def test_what_overlap_explains_is_what_the_numbers_say(predicted, agree, explains):
    made = {iteration: (bits, 0.1) for iteration, bits in zip((1, 20), predicted, strict=True)}
    found = trends.facts(compared(made))["overlap"]
    assert (found["agree"], found["explains"]) == (agree, explains)
    assert found["read"] == pytest.approx(24.9)
    assert found["made"] == pytest.approx(predicted[1] - predicted[0])
    assert found["made_se"] == pytest.approx(np.sqrt(2) * 0.1)


def test_where_nothing_rises_overlap_explains_nothing():
    flat = compared(PREDICTED).assign(net_bits=1.0)
    assert trends.facts(flat)["overlap"]["explains"] == "no rise"


def test_where_order_does_not_matter_overlap_is_no_question():
    rows = {name: trends.coupling_rows(*both) for name, both in STUDIES.items()}
    assert trends.order_matters(rows["shared-source"], rows["shared-source-order"])
    assert not trends.order_matters(rows["null"], rows["null"])
    assert trends.facts(compared())["overlap"] is None


def test_tables_that_cannot_be_compared_are_refused(tmp_path):
    def write(coupling, mi, distances):
        folder = tmp_path / trends.study_of("digits", coupling)
        for name, rows in (("mi", mi), ("distances", distances)):
            results.write(rows, folder / f"{name}.csv")

    mi_of, apart = STUDIES["null"]
    for coupling in COUPLINGS:
        write(coupling, mi_of, apart)
    write("shared-init", mi_of[mi_of.estimator == "ksg"], apart)
    with pytest.raises(ValueError, match="digits-shared-init has no Gaussian reading"):
        trends.read(tmp_path, "digits")
    write("shared-init", mi_of[mi_of.iteration == 1], apart)
    with pytest.raises(ValueError, match="different checkpoints"):
        trends.read(tmp_path, "digits")


def test_missing_studies_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="digits-null.mi.csv: `make couplings SCALE="):
        trends.read(tmp_path, "digits")
    for coupling in COUPLINGS:
        folder = tmp_path / trends.study_of("digits", coupling)
        for name, rows in zip(("mi", "distances"), STUDIES["null"], strict=True):
            results.write(rows, folder / f"{name}.csv")
    found = trends.read(tmp_path, "digits")
    assert list(found) == list(COUPLINGS)
    assert found["null"][0].coupling.unique().tolist() == ["null"]
