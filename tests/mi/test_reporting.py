import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi import laws
from fedmi.mi.reporting import COLUMNS

LAW = laws.Normal(laws.sparse(4, 2, 1.5), 4)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def found():
    x, y = LAW.sample(jax.random.key(1), 500)
    return mi.report(x, y, truths=[0, 1, 2, 4], draws=2, key=KEY, options={"ksg": dict(k=4)})


def test_every_estimator_has_a_row_with_all_that_it_is_worth(found):
    assert list(found.table.columns) == COLUMNS
    rows = found.table.set_index("estimator")
    assert list(rows.index) == ["gaussian", "ksg"]
    assert rows.interval.tolist() == ["analytic", "subsampling"]
    assert (rows.low < rows.net_bits).all() and (rows.net_bits < rows.high).all()
    gaussian, ksg = rows.loc["gaussian"], rows.loc["ksg"]
    assert gaussian.low < LAW.mi_bits < gaussian.high
    assert np.isnan(gaussian.ceiling_bits) and ksg.ceiling_bits > 5
    assert abs(gaussian.limit_bits - LAW.mi_bits) < 3 * gaussian.limit_sd
    assert ksg.limit_bits == found.subsamples["ksg"].extrapolated.bits
    assert ksg.variance_exponent == found.subsamples["ksg"].exponent
    assert (rows.truth_low < LAW.mi_bits).all() and (LAW.mi_bits < rows.truth_high).all()
    assert not rows.blind.any()
    assert set(found.subsamples) == {"gaussian", "ksg"}


def test_few_samples_are_calibrated_but_not_cut_into_parts():
    x, y = LAW.sample(jax.random.key(2), 60)
    found = mi.report(x, y, truths=[0, 4], draws=2, key=KEY)
    rows = found.table.set_index("estimator")
    assert rows.interval.tolist() == ["analytic", "none"]
    assert rows[["limit_bits", "limit_sd", "variance_exponent"]].isna().all(axis=None)
    assert not found.subsamples
    assert rows.truth_high.notna().all()


def test_shared_directions_are_reported_as_infinite():
    x, y = LAW.sample(jax.random.key(3), 400)
    y[:, 3] = x[:, 3]
    found = mi.report(x, y, estimators=["gaussian"], truths=[0, 4], draws=2, key=KEY)
    (row,) = found.table.to_dict("records")
    assert row["net_bits"] == row["truth_low"] == row["truth_high"] == np.inf
    assert not row["blind"]
