import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmi.tasks.augmented_digits import select, select_labels

pytestmark = pytest.mark.usefixtures("quickly_compiled")

_select = jax.jit(select, static_argnums=(1, 2))
_select_labels = jax.jit(select_labels, static_argnums=3, static_argnames="from_the_end")


@pytest.mark.parametrize(("population", "count"), [(1, 1), (12, 12), (40, 25)])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_selected_are_distinct_and_a_larger_count_extends_a_smaller(population, count, seed):
    key = jax.random.key(seed)
    chosen = np.asarray(_select(key, population, count))
    assert len(set(chosen.tolist())) == count
    assert chosen.min() >= 0 and chosen.max() < population
    fewer = count // 2 or 1
    np.testing.assert_array_equal(_select(key, population, fewer), chosen[:fewer])


def test_every_ordered_selection_is_equally_likely():
    n = 60_000
    drawn = jax.jit(jax.vmap(lambda key: select(key, 5, 3)))(jax.random.split(jax.random.key(0), n))
    counts = np.bincount(np.asarray(drawn) @ [25, 5, 1])
    counts = counts[counts > 0]
    assert len(counts) == 60
    expected = n / 60
    chi_squared = np.sum((counts - expected) ** 2 / expected)  # 59 degrees of freedom
    assert chi_squared < 59 + 5 * (2 * 59) ** 0.5


LABELS = jnp.asarray(np.random.default_rng(0).permutation(np.repeat(np.arange(10), 50)), jnp.int32)


def test_labels_are_selected_in_their_shares():
    shares = np.array([0.5, 0.3, 0.2, 0, 0, 0, 0, 0, 0, 0])
    draw = jax.jit(jax.vmap(lambda key: select_labels(key, LABELS, shares, 20)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 2000)))
    assert all(len(set(one)) == 20 for one in drawn)
    counts = np.array([(LABELS[drawn] == label).sum(axis=1) for label in range(10)])
    # Multinomial counts: their means and variances are known.
    np.testing.assert_allclose(counts.mean(axis=1), 20 * shares, atol=0.25)
    np.testing.assert_allclose(counts.var(axis=1), 20 * shares * (1 - shares), rtol=0.15)
    # Within a label every original is as likely as any other.
    often = np.bincount(drawn.ravel(), minlength=500)[LABELS == 0]
    assert 0.5 < often.var() / often.mean() < 1.6


def test_a_smaller_selection_is_the_beginning_of_a_larger_one():
    shares = np.full(10, 0.1)
    few, many = (_select_labels(jax.random.key(1), LABELS, shares, n) for n in (10, 40))
    np.testing.assert_array_equal(few, many[:10])


def test_what_is_held_out_nobody_with_the_same_key_has_trained_on():
    for shares in (np.full(10, 0.1), np.r_[0.9, 0.1, np.zeros(8)]):
        own = _select_labels(jax.random.key(1), LABELS, shares, 25)
        for others in (np.full(10, 0.1), np.r_[0.5, 0.5, np.zeros(8)]):
            out = _select_labels(jax.random.key(1), LABELS, others, 25, from_the_end=True)
            assert len(set(np.asarray(out))) == 25
            assert not set(np.asarray(own)) & set(np.asarray(out))


def test_clients_with_one_key_share_what_their_shares_have_in_common():
    def drawn(shares):
        found = _select_labels(jax.random.key(2), LABELS, np.asarray(shares), 30)
        return np.asarray(found)

    first, second = drawn([0.5, 0.5] + [0] * 8), drawn([0.5, 0, 0.5] + [0] * 7)
    np.testing.assert_array_equal(first[LABELS[first] == 0], second[LABELS[second] == 0])
    assert set(np.asarray(LABELS[second])) == {0, 2}
