"""Other libraries, by other routes, read the studies' own samples as fedmi does."""

import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import cdist
from scipy.special import psi
from sklearn.neighbors import NearestNeighbors

import fedmi
from fedmi import mi

pytestmark = pytest.mark.slow

K = 3
ROUNDING = 4 * float(np.finfo(np.float32).eps)


@pytest.fixture(scope="module", params=["signal", "digits"])
def clients(request):
    """The parameters of two clients at the end of an epoch."""
    samples = fedmi.sample(request.param, seeds=2048, coupling="shared-source", tile=256)
    return [samples.theta.sel(client=q).values[:, -1] for q in (0, 1)]


def plug_in(x, y):
    """Eq. 5 in bits from SciPy's singular vectors, in float64, and the ranks.

    Columns are in units of their root mean square, to which rounding is proportional; no wider than
    4 eps of float32 is no direction.
    """
    bases = []
    for theta in (x, y):
        columns = theta.astype(np.float64)
        size = np.sqrt((columns**2).mean(axis=0))
        columns -= columns.mean(axis=0)
        varies = columns.std(axis=0) > ROUNDING * size
        left, values, _ = scipy.linalg.svd(columns[:, varies] / size[varies], full_matrices=False)
        bases.append(left[:, values > ROUNDING * np.sqrt(len(theta))])
    correlations = scipy.linalg.svdvals(bases[0].T @ bases[1])
    return -0.5 * np.log2(1 - correlations**2).sum(), [basis.shape[1] for basis in bases]


def test_the_plug_in_value_is_that_of_scipys_singular_vectors(clients):
    estimate = mi.gaussian(*clients)
    bits, ranks = plug_in(*clients)
    assert ranks == [estimate.rank_x, estimate.rank_y]
    # Directions that are 1 / ROUNDING times narrower than the widest are known to so many eps.
    known = np.finfo(np.float64).eps / ROUNDING * max(ranks)
    assert abs(estimate.raw_bits - bits) < known * bits


def scikit_learn(x, y):
    """Eq. 6 in bits, neighbours by scikit-learn, from distances in float64."""
    apart = [cdist(of, of) for of in (x, y)]
    finder = NearestNeighbors(n_neighbors=K, metric="precomputed").fit(np.maximum(*apart))
    radius = finder.kneighbors()[0][:, -1:]
    inside = [(of < radius).sum(axis=1) for of in apart]  # each counts itself
    return (psi(K) + psi(len(x)) - psi(inside).mean(axis=1).sum()) / np.log(2)


@pytest.mark.parametrize("directions", [2, 5, 20])
def test_ksg_counts_the_neighbours_that_scikit_learn_counts(clients, directions):
    draw = np.random.default_rng(directions)
    x, y = (
        theta.astype(np.float64) @ draw.standard_normal((theta.shape[1], directions))
        for theta in clients
    )
    found = mi.ksg(x, y, k=K).bits
    # A neighbour more or less at one of N samples, where two distances agree to rounding.
    assert abs(found - scikit_learn(x, y)) < 2 / len(x)
