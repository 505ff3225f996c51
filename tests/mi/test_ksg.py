import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import psi
from sklearn.feature_selection._mutual_info import _compute_mi_cc

from fedmi import mi
from fedmi.mi import neighbours, trees
from fedmi.mi.ksg import (
    ROUNDING,
    blur,
    expected_ties,
    local_terms,
    prepared,
    queries_a_tile,
    spot_checks,
    terms_of,
)
from fedmi.mi.null import repairing
from fedmi.mi.trust.laws import Normal, StudentT, paired

METRICS = ["euclidean", "chebyshev"]
pytestmark = pytest.mark.usefixtures("quickly_compiled")


def reference_bits(x, y, k, metric):
    """Kraskov's first estimator from the full distance matrices, in float64."""
    x, y = x.astype(float), y.astype(float)
    dx, dy = cdist(x, x, metric), cdist(y, y, metric)
    np.fill_diagonal(dx, np.inf)
    np.fill_diagonal(dy, np.inf)
    nearest = np.sort(np.maximum(dx, dy), axis=1)[:, k - 1, None]
    terms = psi((dx < nearest).sum(axis=1) + 1) + psi((dy < nearest).sum(axis=1) + 1)
    return (psi(k) - terms.mean() + psi(len(x))) / np.log(2)


def second_reference_bits(x, y, k, metric):
    """Kraskov's second estimator likewise: rectangles around the k nearest."""
    x, y = x.astype(float), y.astype(float)
    dx, dy = cdist(x, x, metric), cdist(y, y, metric)
    np.fill_diagonal(dx, np.inf)
    np.fill_diagonal(dy, np.inf)
    total = 0.0
    for i in range(len(x)):
        nearest = np.argsort(np.maximum(dx[i], dy[i]))[:k]
        nx = (dx[i] <= dx[i, nearest].max()).sum()
        ny = (dy[i] <= dy[i, nearest].max()).sum()
        total += psi(nx) + psi(ny)
    return (psi(k) - 1 / k - total / len(x) + psi(len(x))) / np.log(2)


def tree_bits(x, y, k):
    """The same in the max norm by SciPy's trees, as it is usually done."""
    n = len(x)
    radius = cKDTree(np.hstack([x, y])).query(np.hstack([x, y]), k + 1, p=np.inf)[0][:, -1]
    inside = np.nextafter(radius, 0)
    nx, ny = (cKDTree(z).query_ball_point(z, inside, p=np.inf, return_length=True) for z in (x, y))
    return (psi(k) - (psi(nx) + psi(ny)).mean() + psi(n)) / np.log(2)


def npeet_bits(x, y, k):
    """As NPEET does it: noise far below the resolution breaks ties."""
    rng = np.random.default_rng(0)
    return tree_bits(*(z.astype(float) + 1e-10 * rng.random(z.shape) for z in (x, y)), k)


def correlated(seed, n, p, q, dtype=np.float64):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, 1))
    x = rng.standard_normal((n, p)) + common
    y = rng.standard_normal((n, q)) + common
    return x.astype(dtype), y.astype(dtype)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("n", "p", "q", "k", "dtype"),
    [
        (30, 1, 1, 1, np.float64),  # fewer points than a block
        (130, 2, 5, 3, np.float64),  # fewer blocks than k
        (700, 3, 40, 3, np.float64),  # two ways of computing distances
        (700, 30, 20, 5, np.float32),
    ],
)
def test_agrees_with_the_plain_reference(metric, n, p, q, k, dtype):
    x, y = correlated(0, n, p, q, dtype)
    e = mi.ksg(x, y, k=k, metric=metric)
    # In float64 the counts are the same. float32 may count a point more or fewer here and there,
    # which moves a term by a bit or two at most.
    tolerance = 1e-12 if dtype == np.float64 else 3 / n
    assert e.bits == pytest.approx(reference_bits(x, y, k, metric), abs=tolerance)
    assert (e.n, e.k, e.metric, e.estimator) == (n, k, metric, "ksg")
    assert np.isnan(e.interval).all() and np.isnan(e.null_sd)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "p", "q", "k"), [(30, 1, 1, 1), (130, 2, 5, 3), (500, 3, 20, 4)])
def test_the_second_estimator_agrees_with_the_plain_reference(metric, n, p, q, k):
    x, y = correlated(0, n, p, q)
    e = mi.ksg(x, y, k=k, metric=metric, variant=2)
    assert e.bits == pytest.approx(second_reference_bits(x, y, k, metric), abs=1e-12)
    assert e.estimator == "ksg2"


def test_the_second_estimator_finds_known_values():
    law = Normal(paired([0.75]), 1)
    keys = jax.random.split(jax.random.key(1), 10)
    draws = [mi.ksg(*law.sample(key, 2000), variant=2).bits for key in keys]
    assert np.mean(draws) == pytest.approx(0.5963, abs=0.04)
    x = np.random.default_rng(0).standard_normal((300, 1))
    e = mi.ksg(x, 2 * x, variant=2)
    assert e.bits == pytest.approx(e.ceiling_bits, abs=1e-9)


def test_standardisation_is_a_choice_that_changes_the_answer():
    x, y = correlated(2, 400, 3, 3)
    stretched = x * np.array([1.0, 1.0, 1e3])
    assert mi.ksg(x, y).bits - mi.ksg(stretched, y).bits > 0.02
    kept = [mi.ksg(a, y, scale="standardised").bits for a in (x, stretched)]
    assert kept[0] == pytest.approx(kept[1], abs=1e-9)
    x[:, 1] = 3.0
    with pytest.raises(ValueError, match=r"x has 1 constant components \(the first: 1;"):
        mi.ksg(x, y, scale="standardised")


@pytest.mark.parametrize(("p", "q"), [(2, 3), (4, 5)])
def test_agrees_with_trees_as_they_are_usually_used(p, q):
    x, y = correlated(1, 2000, p, q)
    assert mi.ksg(x, y, metric="chebyshev").bits == pytest.approx(tree_bits(x, y, 3), abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_agrees_with_scikit_learn(k):
    x, y = np.random.default_rng(7).standard_normal((2, 500))
    y += x**2
    nats = mi.ksg(x, y, k=k).bits * np.log(2)
    assert nats == pytest.approx(_compute_mi_cc(x, y, k), abs=1e-12)


def test_binormal():
    law = Normal(paired([0.75]), 1)
    keys = jax.random.split(jax.random.key(0), 20)
    draws = [mi.ksg(*law.sample(key, 5000)).bits for key in keys]
    assert np.mean(draws) == pytest.approx(0.5963, abs=0.02)


@pytest.mark.parametrize("metric", METRICS)
def test_copy_reads_the_ceiling(metric):
    n, k = 5000, 3
    rng = np.random.default_rng(0)
    x = rng.standard_normal(n)
    e = mi.ksg(x, x + 1e-12 * rng.standard_normal(n), k=k, metric=metric)
    assert e.ceiling_bits == pytest.approx((psi(n) - psi(k + 1)) / np.log(2))
    assert e.bits == pytest.approx(e.ceiling_bits, abs=1e-9)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("p", [1, 12])
def test_only_an_exact_copy_reads_more_than_the_ceiling(p, k):
    n = 200
    x = np.random.default_rng(0).standard_normal((n, p))
    e = mi.ksg(x, x, k=k)
    assert e.bits == pytest.approx((psi(n) - psi(k)) / np.log(2), abs=1e-9)
    assert e.bits == pytest.approx(e.ceiling_bits + 1 / (k * np.log(2)), abs=1e-9)
    for y in (x + 1e-6 * x**2, 2 * x, np.tanh(x)):
        assert mi.ksg(x, y, k=k).bits <= e.ceiling_bits + 1e-9
    second = mi.ksg(x, x, k=k, variant=2)
    assert second.bits == pytest.approx(e.ceiling_bits, abs=1e-9)


def test_independent_heavy_tails_read_zero():
    rng = np.random.default_rng(0)
    sizes = np.sqrt(rng.chisquare(2, (10, 2, 1000, 1)) / 2)
    samples = rng.standard_normal((10, 2, 1000, 2)) / sizes
    draws = [mi.ksg(x, y).bits for x, y in samples]
    assert abs(np.mean(draws)) < 4 * np.std(draws, ddof=1) / np.sqrt(10) + 0.01


def test_heavy_tailed_dependence_beyond_correlation_is_seen():
    law = StudentT(paired([0.0]), 1, df=1.0)
    assert law.mi_bits > 0.2
    keys = jax.random.split(jax.random.key(0), 10)
    # Invertible maps of x and of y leave the mutual information as it is.
    draws = [mi.ksg(*map(np.arcsinh, law.sample(key, 2000))).bits for key in keys]
    assert np.mean(draws) == pytest.approx(law.mi_bits, abs=0.04)


def test_several_k_are_each_ones_own_estimate():
    x, y = correlated(3, 300, 12, 20)
    together = mi.ksg(x, y, k=[3, 1])
    assert together == [mi.ksg(x, y, k=k) for k in (3, 1)]
    key = jax.random.key(0)
    pairs = mi.pairwise([x, y], estimator="ksg", k=[1, 3], permutations=4, key=key)
    assert [(p.pair, p.estimate.k) for p in pairs] == [((0, 1), 1), ((0, 1), 3)]
    nulls = mi.permutation_null(x, y, estimator="ksg", k=[1, 3], m=4, key=key)
    np.testing.assert_array_equal(nulls, [p.permuted for p in pairs])
    one = mi.permutation_null(x, y, estimator="ksg", k=3, m=4, key=key)
    np.testing.assert_array_equal(nulls[1], one)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize(("p", "metric"), [(12, "euclidean"), (2, "chebyshev")])
def test_large_k(p, metric, variant):
    n, ks = 350, [1, 3, 50, 300, 349]
    x, y = correlated(4, n, p, p)
    reference = {1: reference_bits, 2: second_reference_bits}[variant]
    together = mi.ksg(x, y, k=ks, metric=metric, variant=variant)
    for e, k in zip(together, ks, strict=True):
        assert e.bits == pytest.approx(reference(x, y, k, metric), abs=1e-12)
    assert mi.ksg(x, y, k=300, metric=metric, variant=variant).bits == together[3].bits


# ---- scale ----


def test_scores_do_not_change_under_monotone_maps():
    x, y = correlated(5, 300, 2, 5)
    scores = mi.ksg(x, y, scale="scores").bits
    assert mi.ksg(np.exp(x), y**3, scale="scores").bits == scores
    assert mi.ksg(np.exp(x), y**3).bits != scores


@pytest.mark.parametrize("p", [2, 12])
def test_components_that_do_not_vary_add_nothing_to_scores(p):
    x, y = correlated(5, 300, p, p)
    wider = np.insert(x, 1, 7.0, axis=1)
    assert mi.ksg(wider, y, scale="scores").bits == pytest.approx(
        mi.ksg(x, y, scale="scores").bits, abs=1e-12
    )
    wider[:, 1] = np.arange(300) % 3  # tied, but beside others that are not
    assert np.isfinite(mi.ksg(wider, y, scale="scores").bits)


def test_scores_see_through_heavy_tails():
    law = StudentT(paired([0.0, 0.0]), 2, df=1.0)
    draws = [law.sample(key, 4000) for key in jax.random.split(jax.random.key(0), 5)]
    found = {
        scale: np.mean([mi.ksg(*draw, scale=scale).bits for draw in draws])
        for scale in ("raw", "standardised", "scores")
    }
    assert abs(found["scores"] - law.mi_bits) < 0.1
    assert max(found["raw"], found["standardised"]) < law.mi_bits - 0.15


# ---- trees ----


@pytest.mark.parametrize(
    ("p", "q", "metric", "variant"),
    [(1, 1, "euclidean", 1), (2, 1, "euclidean", 2), (3, 3, "euclidean", 1),
     (3, 3, "chebyshev", 2)],
)  # fmt: skip
def test_trees_find_what_all_distances_find(p, q, metric, variant):
    n, ks = 200, (1, 6)
    x, y = correlated(6, n, p, q)
    _, z = correlated(7, n, q, q)
    points = prepared([x, y, z], np.float64)
    repaired = repairing(n, 2, jax.random.key(0))
    options = dict(ks=ks, metric=metric, variant=variant)
    terms, nearest = local_terms(points, repaired, **options)
    counts, radii = trees.tree_counts(points, repaired, pairs=[(0, 1), (0, 2), (1, 2)], **options)
    np.testing.assert_allclose(terms_of(counts, n, ks, variant), terms, rtol=0, atol=1e-12)
    power = 2 if metric == "euclidean" else 1
    np.testing.assert_allclose(radii.swapaxes(1, 2) ** power, nearest, rtol=1e-14)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("metric", METRICS)
def test_trees_treat_equal_distances_alike(metric, variant):
    """On a lattice every point has many neighbours at the same distance."""
    grid = np.stack(np.meshgrid(*3 * [np.arange(6.0)]), axis=-1).reshape(-1, 3)
    x, y = grid, np.roll(grid, 5, axis=0)
    repaired, options = repairing(len(x), 0, None), dict(ks=(2, 7), metric=metric, variant=variant)
    terms, _ = local_terms([x, y], repaired, **options)
    counts, _ = trees.tree_counts([x, y], repaired, pairs=[(0, 1)], **options)
    np.testing.assert_allclose(terms_of(counts, len(x), (2, 7), variant), terms, atol=1e-12)


def test_repairings_read_the_same_with_trees_and_without(monkeypatch):
    x, y = correlated(8, 150, 2, 2, np.float32)
    options = dict(estimator="ksg", permutations=3, key=jax.random.key(1))
    (plain,) = mi.pairwise([x, y], **options)
    monkeypatch.setitem(trees.REPAIRED_FROM, 2, 0)
    (by_trees,) = mi.pairwise([x, y], **options)
    np.testing.assert_allclose(by_trees.permuted, plain.permuted, atol=1e-12)
    assert by_trees.estimate.bits == pytest.approx(plain.estimate.bits, abs=1e-12)


# ---- parts ----


def test_a_tile_of_queries_fills_a_quarter_of_a_devices_memory():
    n, clients = 22_000, 3
    for memory in (2**30, 2**36):
        tile = queries_a_tile(n, clients, memory)
        assert tile * 8 * n * (clients + 2) <= memory / 4
        assert tile == 4096 or 2 * tile * 8 * n * (clients + 2) > memory / 4
    assert queries_a_tile(n, clients, None) == 64
    assert queries_a_tile(10, clients, 2**36) == 10
    assert queries_a_tile(10**9, clients, 2**20) == 1


@pytest.mark.parametrize("k", [1, 3, 8, 20, 64])
@pytest.mark.parametrize("n", [5, 64, 500, 1000])
def test_kth_joint_distance_counts_ties(n, k):
    if k > n:
        return
    rng = np.random.default_rng(n + k)
    # Few distinct values, so that ties straddle the k-th place and the blocks.
    x = rng.integers(0, 40, (n, 9)).astype(np.float32)
    y = rng.integers(0, 40, (n + 2, 11)).astype(np.float32)
    joint = np.maximum(x, y[2 : n + 2, 2:11])
    got = neighbours.joint_kth(x, y, jax.numpy.int32(2), (k,))[0]
    np.testing.assert_array_equal(got, np.sort(joint, axis=0)[k - 1])
    bound = np.asarray(got)
    got = neighbours.count_below(jax.numpy.asarray(y), 2, n, bound)
    np.testing.assert_array_equal(got, (y[2 : n + 2, 2:11] < bound).sum(axis=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_is_found_by_its_bits(dtype):
    rng = np.random.default_rng(0)
    values = (10 ** rng.uniform(-30, 30, (40, 5))).astype(dtype)
    values[3], values[7], values[20:22] = 0, np.inf, values[19]
    ks = (1, 2, 20, 21, 40)
    with jax.enable_x64(dtype == np.float64):
        got = neighbours.kth_by_bits(jax.numpy.asarray(values), ks)
        np.testing.assert_array_equal(got, np.sort(values, axis=0)[np.array(ks) - 1])


def test_distances():
    x, y = correlated(0, 50, 37, 37)
    with jax.enable_x64(True):
        square = cdist(x, y, "sqeuclidean")
        # Each of d = 37 products rounds by eps of the squared norms, some 40 each.
        bound = 37 * np.finfo(float).eps * 4 * max((x**2).sum(1).max(), (y**2).sum(1).max())
        got = neighbours.product_distances(x, y)
        np.testing.assert_allclose(got, square, rtol=0, atol=bound)
        for metric, want in (("euclidean", square), ("chebyshev", cdist(x, y, "chebyshev"))):
            got = neighbours.direct_distances(jax.numpy.asarray(x), y, metric=metric)
            np.testing.assert_allclose(got, want)


# ---- rounding ----


def test_rounding_is_measured_and_small():
    x, y = correlated(0, 1500, 60, 60, np.float32)
    (result,) = mi.pairwise([x, y], estimator="ksg", permutations=0)
    exact = reference_bits(x, y, 3, "euclidean")
    assert abs(result.estimate.bits - exact) < ROUNDING
    assert 0 <= result.rounding_bits < ROUNDING


def clusters(x, y):
    """Two in each client, at different seeds, far from each other."""
    x[::2] += 3e4
    y[1::2] += 3e4


def a_late_cluster(x, y):
    """Among the last seeds only."""
    x[400:480] += 1e5
    y[400:480] += 1e5


def columns_of_unlike_units(x, y):
    units = 10.0 ** np.arange(-6, 6).astype(x.dtype)
    x *= units
    y *= units


def an_offset(x, y):
    x += 1e4
    y -= 1e4


def tiny_units(x, y):
    x *= 1e-30
    y *= 1e-30


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "change", [clusters, a_late_cluster, columns_of_unlike_units, an_offset, tiny_units]
)
def test_rounding_does_not_show_whatever_the_samples(change, dtype):
    x, y = correlated(0, 500, 12, 12, dtype)
    change(x, y)
    (result,) = mi.pairwise([x, y], estimator="ksg", permutations=0)
    exact = reference_bits(x, y, 3, "euclidean")
    assert result.estimate.bits == pytest.approx(exact, abs=2 * ROUNDING)
    if dtype == np.float64 or change in (clusters, a_late_cluster):
        assert np.isnan(result.rounding_bits)


def test_clusters_that_float64_cannot_multiply():
    x, y = correlated(0, 500, 20, 20)
    x[::2] += 2.0**33
    y[1::2] += 2.0**33
    # The same distances, without the clusters' place: between them all are far away.
    exact = reference_bits(x, y, 3, "euclidean")
    assert mi.ksg(x, y).bits == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("p", [1, 3, 12])
@pytest.mark.parametrize(
    ("far", "dtype"),
    [(1e6, np.float32), (3e12, np.float32), (1e30, np.float32), (1e6, np.float64),
     (3e12, np.float64), (1e200, np.float64), (1e300, np.float64)],
)  # fmt: skip
def test_a_far_seed_moves_nothing_but_itself(far, dtype, p, metric):
    n = 400
    x, y = correlated(0, n, p, p, dtype)
    others = np.arange(n) != 7
    without = reference_bits(x[others], y[others], 3, metric)
    x[7] = far
    # One term of log2(N) bits at most changes, and counts of others by one.
    assert mi.ksg(x, y, metric=metric).bits == pytest.approx(without, abs=10 / n)
    y[11, 0] = -far
    x[12, p - 1] = -far
    assert mi.ksg(x, y, metric=metric).bits == pytest.approx(without, abs=40 / n)


def test_far_seeds_leave_the_repairings_as_they_are():
    x, y = correlated(0, 600, 12, 12, np.float32)
    x[7], y[9] = 3e12, -1e20
    (pair,) = mi.pairwise([x, y], estimator="ksg", permutations=5, key=jax.random.key(0))
    assert np.isfinite(pair.permuted).all() and abs(pair.perm_bits) < 0.1


def test_distances_that_float64_cannot_hold_are_refused():
    x, y = correlated(0, 100, 12, 12)
    x[7] = 1e308
    with pytest.raises(ValueError, match="99 samples are nearer .* than float64 can tell"):
        mi.ksg(x, y)


@pytest.mark.parametrize("n", [5, 100, 30_000])
def test_spot_checks_stand_for_all_points_and_include_the_riskiest(n):
    risk = np.random.default_rng(0).random(n)
    chosen, weights = spot_checks(risk)
    assert weights.sum() == pytest.approx(1)
    assert risk.argmax() in chosen and len(chosen) == len(weights) <= 2 * 64
    # A handful of points that rounding has spoilt is seen at its size.
    spoilt = risk >= np.sort(risk)[-5]
    assert (spoilt[chosen] * weights).sum() == pytest.approx(spoilt.mean(), rel=1e-12)


def test_lost_distances_count_as_lost():
    points = prepared(correlated(0, 50, 12, 12, np.float32), np.float32, centred=True)
    nearest = np.ones((1, 1, 1, 50), np.float32)
    nearest[..., 0], nearest[..., 1] = 0, np.nan
    for product in (True, False):
        lost = blur(points, repairing(50, 0, None), nearest, "euclidean", product)
        assert (lost[..., :2] == 1).all()


# ---- ties ----


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("variant", [1, 2])
def test_a_handful_of_chance_collisions_is_taken(seed, variant):
    n = 10_000
    rng = np.random.default_rng(seed)
    x = np.array(jax.random.normal(jax.random.key(seed), (n, 1)))
    y = (x + rng.standard_normal((n, 1))).astype(np.float32)
    x[17] = x[4]  # at least one
    repeated = sum(n - len(np.unique(z)) for z in (x, y))
    e = mi.ksg(x, y, variant=variant)
    assert e.ties == repeated > 0
    assert e.bits == pytest.approx(npeet_bits(x, y, 3), abs=0.03)
    assert mi.ksg(x.astype(float), y, variant=variant).bits == e.bits
    for k in (1, 3):  # here repeated in x and y at once
        assert np.isfinite(mi.ksg(x, x, k=k, variant=variant).bits)


def test_expected_ties_are_those_that_rounding_makes():
    x = np.random.default_rng(0).standard_normal((20_000, 1))
    for coarse in (x.astype(np.float16), (x + 2.0**12).astype(np.float32)):
        # Pairs that meet: the expectation is of these, and ties are rare among them.
        sizes = np.unique(coarse, return_counts=True)[1]
        pairs = (sizes * (sizes - 1) / 2).sum()
        assert expected_ties(coarse) == pytest.approx(pairs, rel=0.35)
    assert expected_ties(x) < 1e-6
    assert expected_ties(np.hstack([x, x[::-1]]).astype(np.float32)) < 1e-6


@pytest.mark.parametrize(
    "discrete",
    [
        lambda x: np.arange(len(x))[:, None] // 2,
        lambda x: (100 * x).astype(int),
        lambda x: x.round(3),
        lambda x: x.round(3).astype(np.float32),
        lambda x: (x + 1e6).astype(np.float32),
        lambda x: np.vstack([x[:-3], x[:3]]),
        lambda x: np.random.default_rng(0).choice(x, len(x)),
        lambda x: np.vstack([np.hstack([x, x**2])[:-1], [[x[0, 0], x[0, 0] ** 2]]]),
    ],
)
def test_discrete_and_copied_samples_are_refused(discrete):
    x, y = correlated(0, 1000, 1, 1)
    with pytest.raises(ValueError, match="^x holds .* duplicate samples .* noise well below"):
        mi.ksg(discrete(x), y)


# ---- refusals ----


def test_duplicates_are_counted_and_refused():
    x, y = correlated(0, 50, 2, 2)
    x[7] = x[3]
    x[8] = x[3]
    with pytest.raises(ValueError, match="^x holds 2 duplicate samples among 50.*noise"):
        mi.ksg(x, y)
    with pytest.raises(ValueError, match="^y holds 2 duplicate"):
        mi.ksg(y, x)
    y[4], y[9] = [0.0, 1.0], [-0.0, 1.0]
    with pytest.raises(ValueError, match="^y holds 1 duplicate"):
        mi.ksg(correlated(1, 50, 2, 2)[0], y)


def test_impossible_options_are_refused():
    x, y = correlated(0, 10, 1, 1)
    for k in (0, 10, 2.5, -1, True):
        with pytest.raises(ValueError, match=f"k is {k}; with 10 samples"):
            mi.ksg(x, y, k=k)
    with pytest.raises(ValueError, match="'manhattan' is not one of euclidean, chebyshev"):
        mi.ksg(x, y, metric="manhattan")
    with pytest.raises(ValueError, match="variant is 3; Kraskov's estimators are 1 and 2"):
        mi.ksg(x, y, variant=3)
    with pytest.raises(ValueError, match="'ranks' is not one of raw, standardised, scores"):
        mi.ksg(x, y, scale="ranks")
    with pytest.raises(ValueError, match="k is empty"):
        mi.ksg(x, y, k=[])
    with pytest.raises(ValueError, match="k is 10; with 10 samples"):
        mi.ksg(x, y, k=[3, 10])
    assert np.isfinite(mi.ksg(x, y, k=9).bits)


# ---- properties ----


@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-20, 20),
    shift=st.floats(-100, 100),
    metric=st.sampled_from(METRICS),
)
@settings(max_examples=40, deadline=None)
def test_symmetry_and_invariance(seed, exponent, shift, metric):
    x, y = correlated(seed, 70, 2, 2)
    e = mi.ksg(x, y, metric=metric)
    assert e.bits == pytest.approx(reference_bits(x, y, 3, metric), abs=1e-12)
    assert mi.ksg(y, x, metric=metric).bits == pytest.approx(e.bits, abs=1e-12)
    moved = mi.ksg((x + shift) * 2.0**exponent, y * 2.0**exponent, metric=metric)
    assert moved.bits == pytest.approx(e.bits, abs=1e-9)
    assert e.bits <= e.ceiling_bits + 1e-12


@pytest.mark.parametrize("components", [2, 3, 5, 12])
def test_distances_whose_squares_lose_digits_are_refused(components):
    """No number is made of what float64 cannot hold beside the largest value."""
    draw = np.random.default_rng(3)
    x = draw.standard_normal((300, components))
    y = x + draw.standard_normal((300, components))
    x[7] = 1.5e308 / components
    with pytest.raises(ValueError, match="nearer to their neighbours than float64 can tell"):
        mi.ksg(x, y)
