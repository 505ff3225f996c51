import numpy as np
import pandas as pd
import pytest
import xarray as xr

from fedmi import couplings, mi, tables
from fedmi.scopes import COUPLINGS

SIZE, EXAMPLES, SEEDS = 3, 20, 4000


def clients(common):
    """Two clients that add up noisy examples, so many of them in common, after half an epoch."""
    draw = np.random.default_rng(0)
    shared = np.sqrt(common) * draw.standard_normal((SEEDS, 1, SIZE))
    own = np.sqrt(EXAMPLES / 2 - common) * draw.standard_normal((SEEDS, 2, SIZE))
    noise = np.sqrt(EXAMPLES / 2) * draw.standard_normal((SEEDS, 2, SIZE))
    return shared + own + noise


def test_overlap_alone_is_predicted_from_clients_with_the_same_order():
    theta = clients(common=EXAMPLES / 2)
    ordered = xr.Dataset(
        dict(
            theta=(("seed", "client", "iteration", "parameter"), theta[:, :, None]),
            metric=(("seed", "client", "step"), np.zeros((SEEDS, 2, 10))),
        ),
        coords=dict(iteration=[5]),
    )
    read = mi.gaussian(theta[:, 0], theta[:, 1]).bits
    table = pd.DataFrame([dict(estimator="gaussian", iteration=5, net_bits=read)])
    (predicted,) = couplings.predicted_bits(ordered, table).values()
    # Half of the examples seen, 5 of 10, are in common: r = 1/2 * 1/2.
    truth = -SIZE / 2 * np.log2(1 - 0.25**2)
    assert predicted == pytest.approx(truth, rel=0.1)
    e = mi.gaussian(*clients(common=EXAMPLES / 4).swapaxes(0, 1))
    assert e.interval[0] < predicted < e.interval[1]


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


@pytest.fixture(scope="module")
def table():
    predicted = {1: 0.2, 20: 38.0}
    rows = [
        row
        for name, both in STUDIES.items()
        for row in couplings.coupling_rows(*both, predicted if name == "shared-source" else None)
    ]
    return pd.DataFrame(rows)


def test_rows_are_means_over_pairs_with_an_error(table):
    assert set(table.columns) == set(couplings.COLUMNS)
    last = table[(table.coupling == "shared-source") & (table.iteration == 20)].iloc[0]
    assert last.net_bits == pytest.approx(25.0)
    assert last.net_se == pytest.approx(np.hypot(0.1, 0.1 / 5))
    assert (last.distance, last.distance_se, last.unmatched) == (1.5, 0.01, 2.0)
    assert last.predicted_bits == 38.0
    assert table[table.coupling == "shared-init"].infinite.all()


def test_trends_say_yes_no_or_open(table):
    trends = couplings.trends(table).set_index("coupling")
    assert list(trends.reset_index().columns) == [
        "coupling", *(c for c in couplings.TREND_COLUMNS if c != "coupling")
    ]  # fmt: skip
    assert trends.above_zero.to_dict() == {
        "null": "open", "shared-source": "yes", "shared-source-order": "yes", "shared-init": "yes",
    }  # fmt: skip
    assert trends.rises.tolist() == ["open", "yes", "no", "infinite"]
    assert trends.distance_rises.tolist() == ["yes", "yes", "no", "open"]
    assert trends.rise_bits["shared-source"] == pytest.approx(24.9)
    assert trends.rise_se["shared-source"] == pytest.approx(np.sqrt(2) * np.hypot(0.1, 0.02))
    assert trends.closer_last["shared-source"] == pytest.approx(0.25)


def test_the_words_are_those_of_the_table(table):
    text = couplings.words(table)
    assert "| `shared-source` | yes (p 0.05) | 0.10 ± 0.20 | 25.00 ± 0.20 | yes (+24.90" in text
    assert "infinite on 264 directions, on the others 30.00" in text
    assert "- The reading rises: `shared-source`; falls: `shared-source-order`." in text
    assert "as the paper has it: `shared-source`; of these" in text
    assert "clients of other seeds: `shared-source`." in text  # 50 % closer, then 25 %
    assert "20: 38.00 predicted, 25.00 ± 0.20 read" in text
    assert "overlap gives the sign of the rise and 37.8 bits of it, more than is read" in text


def test_missing_studies_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="digits-null.mi.csv: `make couplings SCALE="):
        couplings.read(tmp_path, "digits")
    for coupling in COUPLINGS:
        folder = tmp_path / couplings.study_of("digits", coupling)
        for name, rows in zip(("mi", "distances"), STUDIES["null"], strict=True):
            tables.write(rows.to_dict("records"), list(rows), folder / f"{name}.csv")
    found = couplings.read(tmp_path, "digits")
    assert list(found) == list(COUPLINGS)
    assert found["null"][0].coupling.unique().tolist() == ["null"]
