import zlib

import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi.trust import bench, laws

KEY = jax.random.key(0)


def read(family, **changes):
    arguments = dict(dimension=6, n=4000, mi_bits=3.0, draw=0, estimator="gaussian", options={})
    arguments |= dict(permutations=3)
    return bench.reading(family, **arguments | changes, key=KEY)


@pytest.mark.parametrize("family", bench.FAMILIES)
def test_laws_have_the_mi_asked_for(family):
    law = bench.FAMILIES[family](40, 5.0)
    x, y = law.sample(KEY, 10)
    assert x.shape == y.shape == (10, 40)
    common = laws.StudentT(np.eye(80), 40, bench.DEGREES_OF_FREEDOM).mi_bits
    added = common if family == "heavy tails" else 0.0
    assert law.mi_bits == pytest.approx(5.0 + added, abs=1e-9)


def test_the_gaussian_formula_reads_normal_laws_and_only_these():
    few, spread, cubed, heavy = (read(family) for family in bench.FAMILIES)
    for row in (few, spread):
        assert set(row) == set(bench.COLUMNS)
        assert abs(row["bits"] - 3.0) < (row["high"] - row["low"]) / 1.96
    assert cubed["bits"] < 2.7
    assert heavy["bits"] - heavy["true_bits"] != pytest.approx(0, abs=0.02)
    for row in (few, spread, cubed, heavy):
        assert row["net_bits"] == row["bits"] - row["perm_bits"]
    assert abs(few["perm_bits"]) < 0.05
    copula = read("few, cubed", estimator="gaussian_copula")
    assert copula["bits"] == pytest.approx(3.0, abs=0.15)


def test_estimators_read_the_same_samples_in_the_precision_of_parameters():
    x, y = (
        a.astype(np.float32)
        for a in bench.FAMILIES["all directions"](6, 3.0).sample(_sample_key(), 500)
    )
    assert read("all directions", n=500)["bits"] == mi.gaussian(x, y).bits
    ksg = read("all directions", n=500, estimator="ksg", options=dict(k=5))
    assert ksg["bits"] == mi.ksg(x, y, k=5).bits
    assert ksg["ceiling_bits"] == mi.ksg(x, y, k=5).ceiling_bits


def _sample_key():
    place = zlib.crc32(b"all directions 6 500 3 0")
    return jax.random.split(jax.random.fold_in(KEY, place))[0]


def test_data_sets_differ_by_draw_and_repeat():
    first, again, second = (read("few directions", n=100, draw=draw)["bits"] for draw in (0, 0, 1))
    assert first == again != second


def test_what_an_estimator_refuses_is_kept_as_a_reason():
    row = read("few directions", n=12)
    assert np.isnan(row["bits"]) and row["estimator"] == "gaussian"
    assert "12 samples" in row["why_not"]
