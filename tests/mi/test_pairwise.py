import jax
import numpy as np
import pytest

from fedmi import mi

KEY = jax.random.key(2)


def clients(n=300, dtype=np.float64):
    rng = np.random.default_rng(0)
    common = rng.standard_normal((n, 12))
    return [(common + rng.standard_normal((n, 12))).astype(dtype) for _ in range(3)]


def test_clients_may_differ_in_size():
    a, b, c = clients()
    results = mi.pairwise([a, b[:, :10], c[:, :2]], estimator="ksg", permutations=0)
    assert results[1].estimate.bits == mi.ksg(a, c[:, :2]).bits


@pytest.mark.parametrize("estimator", ["gaussian", "ksg"])
def test_every_pair_equals_its_own_estimate(estimator):
    arrays = clients()
    results = mi.pairwise(arrays, estimator=estimator, permutations=3, key=KEY)
    assert [r.pair for r in results] == [(0, 1), (0, 2), (1, 2)]
    for r in results:
        x, y = (arrays[q] for q in r.pair)
        alone = getattr(mi, estimator)(x, y)
        assert r.estimate.bits == pytest.approx(alone.bits, abs=1e-12)
        null = mi.permutation_null(x, y, estimator=estimator, m=3, key=KEY)
        np.testing.assert_allclose(r.permuted, null, atol=1e-10)


def test_options_reach_the_estimator():
    arrays = clients()
    (first, *_) = mi.pairwise(arrays, estimator="ksg", permutations=0, k=5, metric="chebyshev")
    assert (first.estimate.k, first.estimate.metric) == (5, "chebyshev")
    scores = mi.pairwise(arrays, estimator="ksg", permutations=0, scale="scores")
    bent = [np.sinh(x) for x in arrays]
    again = mi.pairwise(bent, estimator="ksg", permutations=0, scale="scores")
    assert [p.estimate.bits for p in again] == [p.estimate.bits for p in scores]
    arrays[0][:, 0] += 1e3  # of which it varies by a thousandth
    (first, *_) = mi.pairwise(arrays, permutations=0, rtol=1e-2)
    assert first.estimate.rank_x == 11
    with pytest.raises(TypeError, match="kk"):
        mi.pairwise(arrays, estimator="ksg", permutations=0, kk=5)


def test_the_same_key_gives_the_same_numbers():
    a, b = (mi.pairwise(clients(), estimator="ksg", permutations=2, key=KEY) for _ in range(2))
    assert [r.row() for r in a][0]["perm_bits"] == [r.row() for r in b][0]["perm_bits"]


def test_ties_are_those_of_a_pairs_own_clients():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((5000, 1)).astype(np.float32) for _ in range(3)]
    repeated = [5000 - len(np.unique(x)) for x in arrays]
    arrays[2][4] = arrays[2][9]  # one more in the last
    results = mi.pairwise(arrays, estimator="ksg", permutations=0)
    a, b, c = repeated[0], repeated[1], repeated[2] + 1
    assert [r.estimate.ties for r in results] == [a + b, a + c, b + c]


def test_input_is_not_changed():
    arrays = clients()
    copies = [a.copy() for a in arrays]
    mi.pairwise(arrays, permutations=2, key=KEY)
    mi.pairwise(arrays, estimator="ksg", permutations=2, key=KEY)
    for a, b in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(a, b)
