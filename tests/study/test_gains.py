import numpy as np
import pandas as pd
import pytest

from fedmi.study import gains
from fedmi.study.methods import ALONE, EXP_STEP, FURTHER, LINE, PLANE, REFERENCES, STEP

LESS = {
    "mean": 0.0,
    "download": 2.0,
    STEP: -0.2,
    EXP_STEP: 0.0,
    "Fisher mean": -0.1,
    "inverse-variance mean": 0.1,
    "coordinate median": 0.3,
    "linear with offset": -1.5,  # a map, which can remember other seeds
    LINE: -0.4,
    FURTHER: -0.3,
    PLANE: -0.06,
    ALONE: 0.5,
}


def rows(error=0.01, **changed):
    less = LESS | changed
    return pd.DataFrame(
        dict(
            method=list(less),
            reference=[name in REFERENCES for name in less],
            objective_less_mean=list(less.values()),
            objective_less_mean_se=error,
        )
    )


def test_a_gain_is_a_share_of_what_f_fell():
    share, error = gains.share_of_fall(rows(), STEP)
    assert share == pytest.approx(0.1)
    draw = np.random.default_rng(0)
    gain, fall = draw.normal(0.2, 0.01, 100_000), draw.normal(2.0, 0.01, 100_000)
    assert error == pytest.approx((gain / fall).std(), rel=0.02)
    assert gains.share_of_fall(rows(), ALONE)[0] == pytest.approx(-0.25)


def test_the_fall_may_be_that_of_another_checkpoint():
    early, last = rows(download=-0.1), rows(download=4.0)
    assert gains.share_of_fall(early, STEP, last)[0] == pytest.approx(0.05)


def test_gains_are_told_apart_by_where_they_lie():
    found = gains.gains(rows())
    assert {place: of["method"] for place, of in found.items()} == {
        "length": STEP,
        "data-free": EXP_STEP,
        "longest": LINE,
        "further": FURTHER,
        "plane": PLANE,
        "coordinates": "Fisher mean",
        "direction": "Fisher mean",
        "any": STEP,
    }
    shares = {place: of["share"] for place, of in found.items()}
    assert shares["longest"] == pytest.approx(0.2) and shares["plane"] == pytest.approx(0.03)
    assert gains.gains(rows(**{PLANE: -0.5}))["direction"]["method"] == PLANE


def test_a_table_without_a_method_is_refused():
    table = rows()
    with pytest.raises(ValueError, match="has no 'download'; `make aggregation` makes it anew"):
        gains.gains(table.loc[table.method != "download"])
