import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi import trees
from fedmi.mi.null import repairing
from fedmi.mi.terms import local_terms, prepared, terms_of
from tests.mi.plain import METRICS, correlated

pytestmark = pytest.mark.usefixtures("quickly_compiled")


@pytest.mark.parametrize(
    ("p", "q", "metric"),
    [(1, 1, "euclidean"), (2, 1, "euclidean"), (3, 3, "euclidean"), (3, 3, "chebyshev")],
)
def test_trees_find_what_all_distances_find(p, q, metric):
    n, ks = 200, (1, 6)
    x, y = correlated(6, n, p, q)
    _, z = correlated(7, n, q, q)
    points = prepared([x, y, z], np.float64)
    repaired = repairing(n, 2, jax.random.key(0))
    options = dict(ks=ks, metric=metric)
    terms, nearest = local_terms(points, repaired, **options)
    counts, radii = trees.tree_counts(points, repaired, **options)
    np.testing.assert_allclose(terms_of(counts, n, ks), terms, rtol=0, atol=1e-12)
    power = 2 if metric == "euclidean" else 1
    np.testing.assert_allclose(radii.swapaxes(1, 2) ** power, nearest, rtol=1e-14)


@pytest.mark.parametrize("metric", METRICS)
def test_trees_treat_equal_distances_alike(metric):
    """On a lattice every point has many neighbours at the same distance."""
    grid = np.stack(np.meshgrid(*3 * [np.arange(6.0)]), axis=-1).reshape(-1, 3)
    x, y = grid, np.roll(grid, 5, axis=0)
    repaired, options = repairing(len(x), 0), dict(ks=(2, 7), metric=metric)
    terms, _ = local_terms([x, y], repaired, **options)
    counts, _ = trees.tree_counts([x, y], repaired, **options)
    np.testing.assert_allclose(terms_of(counts, len(x), (2, 7)), terms, atol=1e-12)


def test_repairings_read_the_same_with_trees_and_without(monkeypatch):
    x, y = correlated(8, 150, 2, 2, np.float32)
    options = dict(estimator="ksg", permutations=3, key=jax.random.key(1))
    (plain,) = mi.pairwise([x, y], **options)
    monkeypatch.setitem(trees.REPAIRED_FROM, 2, 0)
    (by_trees,) = mi.pairwise([x, y], **options)
    np.testing.assert_allclose(by_trees.permuted, plain.permuted, atol=1e-12)
    assert by_trees.estimate.bits == pytest.approx(plain.estimate.bits, abs=1e-12)
