"""Re-pairings in which one seed of a client meets another that stands alone as it does."""

from math import inf

import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi.null import repairing


def normals(seed, n, *columns):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, p)) for p in columns]


def test_re_paired_samples_that_share_all_their_directions_are_refused():
    # In any order, half a turn or a quarter maps it onto itself or its opposite.
    x = np.arange(4) % 2
    with pytest.raises(ValueError, match="too few different values"):
        mi.permutation_null(x, x, m=3, key=jax.random.key(0))


def alone(n, *seeds):
    """A column for each seed, which moves in that seed only."""
    columns = np.zeros((n, len(seeds)))
    columns[list(seeds), range(len(seeds))] = 1.0
    return columns


def test_a_re_pairing_of_seeds_that_stand_alone_is_infinite_and_its_rest_counts():
    n = 60
    x, y = normals(3, n, 2, 3)
    with_x, with_y = np.hstack([x, alone(n, 5)]), np.hstack([y, alone(n, 7)])
    (found,) = mi.pairwise([with_x, with_y], permutations=n - 1, key=jax.random.key(1))
    infinite = np.isinf(found.permuted)
    assert infinite.sum() == 1 and found.estimate.shared_directions == 0
    # What is left of that re-pairing are the residuals given the seed, which is as if it was not.
    partners = repairing(n, n - 1, jax.random.key(1)).pairings[1 + int(np.flatnonzero(infinite)[0])]
    assert partners[5] == 7
    kept = np.arange(n) != 5
    rest = mi.gaussian(x[kept], y[partners][kept])
    assert found.permuted_finite[infinite] == pytest.approx([rest.bits], abs=1e-9)
    assert (found.permuted_finite == found.permuted)[~infinite].all()
    assert found.net_bits == pytest.approx(found.estimate.bits - found.permuted_finite.mean())
    reads_as_much = (found.permuted >= found.estimate.bits).sum()
    assert found.p_value == (1 + reads_as_much) / n and np.isnan(found.p_fit)
    assert np.isfinite(found.row()["perm_sd"])


def test_seeds_that_stand_alone_in_both_clients_are_no_surer_than_their_re_pairings():
    n = 40
    x, y = normals(4, n, 1, 1)
    places = (2, 3, 11, 17)
    (found,) = mi.pairwise(
        [np.hstack([x, alone(n, *places)]), np.hstack([y, alone(n, *places)])],
        permutations=n - 1,
        key=jax.random.key(2),
    )
    assert found.estimate.shared_directions == 4 and found.estimate.bits == inf
    # Of the shifts, those meet that are a difference of two of the four.
    order = repairing(n, n - 1, jax.random.key(2)).order
    at = [int(np.flatnonzero(order == place)[0]) for place in places]
    meet = {(b - a) % n for a in at for b in at if a != b}
    assert set(np.flatnonzero(np.isinf(found.permuted)) + 1) == meet
    assert found.p_value == (1 + len(meet)) / n


@pytest.mark.parametrize("near", [1e-3, 1e-5, 1e-7, 1e-9])
def test_re_pairings_that_nearly_share_a_direction_are_read_to_float64(near):
    # A seed that stands nearly alone in both: float32 products do not tell how near.
    n = 400
    x, y = normals(5, n, 3, 3)
    small = np.sqrt(near / n) * normals(6, n, 1, 1)[0]
    x[:, 0], y[:, 0] = alone(n, 5)[:, 0] + small[:, 0], alone(n, 7)[:, 0] + small[:, 0][::-1]
    (found,) = mi.pairwise([x, y], permutations=n - 1, key=jax.random.key(1))
    pairings = repairing(n, n - 1, jax.random.key(1)).pairings[1:]
    (s,) = (s for s, partners in enumerate(pairings) if partners[5] == 7)
    again = mi.gaussian(x, y[pairings[s]])
    assert again.shared_directions == 0 and again.bits > 2
    # A correlation r^2 is known to some eps, of which 1 - r^2 is a share near / eps.
    tolerance = 100 * np.finfo(float).eps / near / np.log(2)
    assert found.permuted[s] == pytest.approx(again.bits, abs=max(tolerance, 1e-6))
