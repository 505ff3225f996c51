from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi import aggregation
from fedmi.aggregation import mapping

pytestmark = pytest.mark.usefixtures("quickly_compiled")

Q, T = 3, 5
DRAW = np.random.default_rng(0)
POSITIVE = DRAW.uniform(0.5, 2.0, (Q, T))
# The aggregators with what they need besides; `beside` has the clients in front where they differ.
AGGREGATORS = {
    "weighted_mean": (aggregation.weighted_mean, {}),
    "coordinate_median": (aggregation.coordinate_median, {}),
    "geometric_median": (aggregation.geometric_median, {}),
    "server_step": (aggregation.server_step, {"download": np.zeros(T), "step": 1.0}),
    "fedexp_step": (aggregation.fedexp_step, {"download": np.zeros(T)}),
    "fisher_mean": (aggregation.fisher_mean, {"information": POSITIVE}),
    "inverse_variance_mean": (aggregation.inverse_variance_mean, {"variances": POSITIVE}),
}


@pytest.fixture(scope="module", autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def clients(seed=0, n=4):
    return np.random.default_rng(seed).standard_normal((n, Q, T))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_equal_clients_are_what_they_are(name):
    aggregator, beside = AGGREGATORS[name]
    one = clients()[:, :1]
    found = aggregation.over_seeds(aggregator, one.repeat(Q, axis=1), [1, 2, 5], **beside)
    np.testing.assert_allclose(found, one[:, 0], rtol=1e-12)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_order_of_clients_does_not_matter(name):
    aggregator, beside = AGGREGATORS[name]
    order, counts, w = [2, 0, 1], np.array([1, 2, 5]), clients()
    turned = {k: v[order] if np.shape(v) == (Q, T) else v for k, v in beside.items()}
    np.testing.assert_allclose(
        aggregation.over_seeds(aggregator, w[:, order], counts[order], **turned),
        aggregation.over_seeds(aggregator, w, counts, **beside),
        rtol=1e-9,
    )


@pytest.mark.parametrize("name", sorted(AGGREGATORS.keys() - {"inverse_variance_mean"}))
def test_a_client_with_twice_the_examples_counts_as_two(name):
    aggregator, beside = AGGREGATORS[name]
    w, twice = clients(), [0, 1, 2, 2]
    doubled = {k: v[twice] if np.shape(v) == (Q, T) else v for k, v in beside.items()}
    np.testing.assert_allclose(
        aggregation.over_seeds(aggregator, w, [1, 1, 2], **beside),
        aggregation.over_seeds(aggregator, w[:, twice], **doubled),
        rtol=1e-9,
    )


def test_by_hand():
    w = np.array([[[0.0, 10.0], [1.0, 20.0], [5.0, 60.0]]])
    at = partial(aggregation.over_seeds, clients=w)
    assert at(aggregation.weighted_mean)[0].tolist() == pytest.approx([2.0, 30.0])
    assert at(aggregation.weighted_mean, counts=[1, 1, 2])[0].tolist() == [2.75, 37.5]
    assert at(aggregation.coordinate_median)[0].tolist() == [1.0, 20.0]
    # Half of the weight lies from 5 on: the middle between 1 and 5.
    assert at(aggregation.coordinate_median, counts=[1, 1, 2])[0].tolist() == [3.0, 40.0]
    assert at(aggregation.coordinate_median, counts=[1, 1, 3])[0].tolist() == [5.0, 60.0]
    step = at(aggregation.server_step, download=np.array([1.0, 0.0]), step=2.0)
    assert step[0].tolist() == pytest.approx([3.0, 60.0])
    fisher = at(aggregation.fisher_mean, information=np.array([[1, 0], [3, 0], [0, 0.0]]))
    assert fisher[0].tolist() == pytest.approx([0.75, 30.0])  # without information: the mean
    variances = np.array([[1, 2], [1, 1], [np.inf, 2.0]])
    inverse = at(aggregation.inverse_variance_mean, variances=variances)
    assert inverse[0].tolist() == pytest.approx([0.5, (5 + 20 + 30) / 2])
    certain = at(aggregation.inverse_variance_mean, variances=np.array([[0, 1], [1, 1], [1, 1.0]]))
    assert certain[0].tolist() == pytest.approx([0.0, 30.0])


def test_updates_that_point_apart_are_taken_further():
    apart = 3.0 * np.eye(3)[None]  # s = 9 / (2 * 3)
    found = aggregation.over_seeds(aggregation.fedexp_step, apart, download=np.zeros(3))
    np.testing.assert_allclose(found[0], [1.5, 1.5, 1.5])
    # Counted twice, a client weighs twice: s = 9 / (2 * (36 + 9 + 9) / 16), of [1.5, 0.75, 0.75].
    found = aggregation.over_seeds(aggregation.fedexp_step, apart, [2, 1, 1], download=np.zeros(3))
    np.testing.assert_allclose(found[0], 4 / 3 * np.array([1.5, 0.75, 0.75]))
    near = np.array([[[1.0, 2.0], [1.1, 2.0], [0.9, 2.0]]])
    mean = aggregation.over_seeds(aggregation.fedexp_step, near, download=np.zeros(2))
    np.testing.assert_allclose(mean[0], [1.0, 2.0])


def test_clients_of_one_law_have_the_mean_as_inverse_variance_mean():
    w = clients()
    found = aggregation.over_seeds(
        aggregation.inverse_variance_mean, w, variances=np.tile(POSITIVE[:1], (Q, 1))
    )
    np.testing.assert_allclose(found, w.mean(axis=1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_medians_survive_a_client_that_is_not_finite(bad):
    w = clients()
    w[:, 1] = bad
    found = np.asarray(aggregation.over_seeds(aggregation.coordinate_median, w))
    others = w[:, [0, 2]]
    assert (found >= others.min(axis=1)).all() and (found <= others.max(axis=1)).all()
    found = aggregation.over_seeds(aggregation.geometric_median, w, [1, 2.5, 2])
    np.testing.assert_array_equal(found, w[:, 2])  # more than half of what is left


@pytest.mark.parametrize("name", sorted(AGGREGATORS.keys() - {f.__name__ for f in mapping.ROBUST}))
def test_others_refuse_a_client_that_is_not_finite(name):
    aggregator, beside = AGGREGATORS[name]
    w = clients()
    w[2, 1, 3] = np.nan
    with pytest.raises(ValueError, match="1 are not finite, the first client 1 of seed 2"):
        aggregation.over_seeds(aggregator, w, **beside)


def test_impossible_arguments_are_refused():
    at = partial(aggregation.over_seeds, aggregation.weighted_mean)
    with pytest.raises(ValueError, match=r"clients: shape \(3, 5\); it must be \(seeds"):
        at(clients()[0])
    with pytest.raises(ValueError, match=r"counts: shape \(2,\); 3 clients need one"):
        at(clients(), [1, 2])
    with pytest.raises(ValueError, match="counts: .* must be finite and above 0"):
        at(clients(), [1, 0, 2])
    w = clients()
    w[:, 1:] = np.inf
    with pytest.raises(ValueError, match="half of the weight or more"):
        aggregation.over_seeds(aggregation.coordinate_median, w)


def test_aggregators_can_be_compiled_and_mapped():
    w = jnp.asarray(clients())
    weights = jnp.full(Q, 1 / Q)
    for name, (aggregator, beside) in AGGREGATORS.items():
        one = aggregator(w[0], weights, **{k: jnp.asarray(v) for k, v in beside.items()})
        found = aggregation.over_seeds(aggregator, w, **beside)
        np.testing.assert_allclose(found[0], one, rtol=1e-9, err_msg=name)


def regmean_by_hand(layers, weights, grams):
    total = sum(w * g for w, g in zip(weights, grams, strict=True))
    pulled = sum(w * g @ w_q for w, g, w_q in zip(weights, grams, layers, strict=True))
    return np.linalg.solve(total, pulled)


def test_regmean_is_the_layer_nearest_to_all():
    draw = np.random.default_rng(1)
    layers, inputs = draw.standard_normal((Q, 3, 2)), draw.standard_normal((Q, 8, 3))
    grams = np.einsum("qni,qnj->qij", inputs, inputs) / 8
    weights = np.array([0.2, 0.3, 0.5])
    found = aggregation.regmean(layers.reshape(Q, -1), weights, grams=grams)
    np.testing.assert_allclose(
        np.reshape(found, (3, 2)), regmean_by_hand(layers, weights, grams), rtol=1e-9
    )

    def error(layer):
        apart = np.einsum("qni,qio->qno", inputs, layer - layers)
        return np.einsum("q,qno->", weights, apart**2)

    for other in draw.standard_normal((10, 3, 2)):
        assert error(np.reshape(found, (3, 2))) < error(np.reshape(found, (3, 2)) + 0.01 * other)


def test_regmean_of_one_client_by_hand():
    grams = np.array([[[2.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 4.0]]])
    found = aggregation.regmean([[3.0, 1.0], [0.0, 7.0]], [0.5, 0.5], grams=grams)
    np.testing.assert_allclose(found, [2.0, 7.0], rtol=1e-12)  # 3 and 0 as 2 to 1; 7 alone


def test_regmean_is_the_mean_where_nobody_has_inputs():
    grams = np.zeros((2, 2, 2))
    grams[:, 0, 0] = [1.0, 3.0]
    found = aggregation.regmean([[4.0, 1.0], [0.0, 7.0]], [0.5, 0.5], grams=grams)
    np.testing.assert_allclose(found, [1.0, 4.0], rtol=1e-12)
    alike = np.broadcast_to(np.eye(2), (2, 2, 2))
    mean = aggregation.regmean([[4.0, 1.0], [0.0, 7.0]], [0.25, 0.75], grams=alike)
    np.testing.assert_allclose(mean, [1.0, 5.5], rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 2), (2, 3, 3), (3, 2, 2), (2, 2, 1), (2, 0, 0), ()])
def test_regmean_refuses_other_gram_matrices(shape):
    with pytest.raises(ValueError, match=r"grams: shape .*; it must be \(2, inputs, inputs\)"):
        aggregation.regmean(np.ones((2, 4)), [0.5, 0.5], grams=np.ones(shape))
