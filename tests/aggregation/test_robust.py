import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi.aggregation import krum, multi_krum, trimmed_mean

EQUAL = np.full(5, 0.2)


def clients(q=7, t=4, seed=0):
    return np.random.default_rng(seed).standard_normal((q, t))


def test_the_trimmed_mean_by_hand():
    w = np.array([[0.0, 9.0], [1.0, 2.0], [2.0, 3.0], [4.0, 4.0], [100.0, -50.0]])
    np.testing.assert_allclose(trimmed_mean(w, EQUAL, share=0.2), [7 / 3, 3.0])
    np.testing.assert_allclose(trimmed_mean(w, EQUAL, share=0.4), [2.0, 3.0])  # the median
    np.testing.assert_allclose(trimmed_mean(w, EQUAL, share=0.19), w.mean(axis=0), rtol=1e-6)


def plain_scores(w, dishonest):
    """Blanchard et al., section 3, in loops."""
    scores = []
    for i in range(len(w)):
        others = sorted(sum((w[i] - w[j]) ** 2) for j in range(len(w)) if j != i)
        scores.append(sum(others[: len(w) - dishonest - 2]))
    return scores


@pytest.mark.parametrize("dishonest", [0, 1, 2])
def test_krum_is_the_client_that_its_nearest_are_nearest_to(dishonest):
    for seed in range(10):
        w = clients(seed=seed)
        order = np.argsort(plain_scores(w, dishonest))
        equal = np.full(len(w), 1 / len(w))
        np.testing.assert_array_equal(
            krum(w, equal, dishonest=dishonest), w[order[0]].astype(np.float32)
        )
        np.testing.assert_allclose(
            multi_krum(w, equal, dishonest=dishonest, kept=3), w[order[:3]].mean(axis=0), rtol=1e-5
        )


def test_krum_by_hand():
    w = np.array([[0.0], [1.0], [1.5], [2.0], [50.0]])  # of each, the two nearest of the others
    np.testing.assert_array_equal(krum(w, EQUAL, dishonest=1), [1.5])
    np.testing.assert_allclose(multi_krum(w, EQUAL, dishonest=1, kept=1), [1.5])
    np.testing.assert_allclose(multi_krum(w, EQUAL, dishonest=1), [4.5 / 4])


@pytest.mark.parametrize("aggregator", [trimmed_mean, krum, multi_krum])
class TestRobustAggregators:
    def test_move_and_scale_with_the_clients(self, aggregator):
        w, equal = clients(), np.full(7, 1 / 7)
        found = aggregator(w, equal)
        np.testing.assert_allclose(
            aggregator(4 * w - 3, equal), 4 * found - 3, rtol=1e-4, atol=1e-4
        )

    def test_know_no_order(self, aggregator):
        w, equal = clients(), np.full(7, 1 / 7)
        np.testing.assert_allclose(aggregator(w[::-1], equal), aggregator(w, equal), rtol=1e-6)

    def test_a_far_client_does_no_harm(self, aggregator):
        w, equal = clients(), np.full(7, 1 / 7)
        w[2] = 1e6
        found = np.asarray(aggregator(w, equal))
        honest = np.delete(w, 2, axis=0)
        assert (found >= honest.min(axis=0) - 1e-5).all()
        assert (found <= honest.max(axis=0) + 1e-5).all()

    def test_map_over_seeds(self, aggregator):
        w = np.stack([clients(seed=seed) for seed in range(3)])
        equal = jnp.full(7, 1 / 7)
        mapped = jax.jit(jax.vmap(lambda one: aggregator(one, equal)))(jnp.asarray(w, jnp.float32))
        for found, one in zip(mapped, w, strict=True):
            np.testing.assert_allclose(found, aggregator(one, equal), rtol=1e-5)


def test_what_is_impossible_is_refused_with_the_remedy():
    w, equal = clients(4), np.full(4, 1 / 4)
    message = "dishonest: 1 among 4 clients; .* 2 f \\+ 3 at least, here 5: ask more clients"
    with pytest.raises(ValueError, match=message):
        krum(w, equal)
    with pytest.raises(ValueError, match=message):
        multi_krum(w, equal)
    with pytest.raises(ValueError, match="dishonest: -1"):
        krum(w, equal, dishonest=-1)
    with pytest.raises(ValueError, match="kept: 5 is not from 1 to the 4 clients"):
        multi_krum(w, equal, dishonest=0, kept=5)
    with pytest.raises(ValueError, match="share: 0.5 is not from 0 to below 0.5"):
        trimmed_mean(w, equal, share=0.5)
