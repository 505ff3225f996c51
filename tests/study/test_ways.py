import jax.numpy as jnp
import numpy as np
import pytest

from fedmi.aggregation import stateful
from fedmi.study.ways import ATTACKS, AVERAGE, POINTS, WAYS, RegMean, way_of
from fedmi.tasks.augmented_digits import entropy_and_accuracy


@pytest.mark.parametrize("name", WAYS)
def test_every_way_is_tuned_over_as_many_points(name):
    way = WAYS[name]
    grid = way.grid(0.5, 8.0)
    rates = np.unique(grid["rate"])
    assert all(len(values) == POINTS for values in grid.values())
    assert len({*zip(*grid.values(), strict=True)}) == POINTS
    np.testing.assert_allclose([rates.min(), rates.max()], [0.5, 8.0])
    np.testing.assert_allclose(np.diff(np.log(rates)), np.log(16) / (len(rates) - 1))
    assert way.why
    for number in way.own:
        assert set(grid[number]) == set(way.own[number])


@pytest.mark.parametrize("name", WAYS)
def test_nothing_moves_where_no_client_does(name):
    numbers = {number: jnp.float32(1.0) for number in (*WAYS[name].own, "rate")}
    parts = stateful(WAYS[name].aggregator(numbers))
    download, weights = jnp.arange(4.0), jnp.full(9, 1 / 9)
    uploads = jnp.tile(download, (9, 1))
    sent = {"Fisher mean": uploads + 1, "RegMean": jnp.ones((9, 2, 2))}.get(name)
    beside = {} if sent is None else dict(sent=sent)
    found, _ = parts.step(parts.init(download), uploads, weights, download, **beside)
    # The mean is off by eps or so, which optimisers may divide by as little as 1e-3; and Optax's
    # Yogi begins with a momentum of 1e-6.
    np.testing.assert_allclose(found, download, atol=2e-3)


def test_an_aggregator_of_ones_own_takes_the_averages_place():
    way = way_of("fedmi.aggregation:weighted_mean")
    assert way.grid(1, 2).keys() == way_of(AVERAGE).grid(1, 2).keys()
    assert way.aggregator is way_of("fedmi.aggregation:weighted_mean").aggregator
    with pytest.raises(ValueError, match="no such way to train; did you mean FedAvg"):
        way_of("FedAv")


def test_the_gram_matrix_gives_each_client_its_own_outputs():
    """Clients with inputs in directions of their own keep all of what they do there."""
    draw = np.random.default_rng(0)
    features = np.zeros((2, 20, 6), np.float32)
    features[0, :, :3], features[1, :, 3:] = draw.standard_normal((2, 20, 3))
    uploads = jnp.asarray(draw.standard_normal((2, 7 * 4)), jnp.float32)
    uploads = uploads.at[1, :4].set(uploads[0, :4])  # the biases, which all inputs have
    way, weights = RegMean(), jnp.full(2, 0.5)
    sent = jnp.stack([way.send(None, dict(features=jnp.asarray(f)), None) for f in features])
    made, _ = way.step((), uploads, weights, jnp.zeros(28), sent)
    for own, inputs in zip(uploads, features, strict=True):
        whole = np.concatenate([np.ones((20, 1)), inputs], axis=1)
        expected = whole @ np.asarray(own).reshape(7, 4)
        np.testing.assert_allclose(whole @ np.asarray(made).reshape(7, 4), expected, atol=1e-3)


def test_attacks_lie():
    upload, download = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.zeros(4)
    np.testing.assert_array_equal(ATTACKS["sign flip"](upload, download), -upload)
    far = ATTACKS["far point"](upload, download)
    np.testing.assert_array_equal(far, [-10, 10, -10, 10])
    # A softmax of a linear layer is changed by it: not all classes are moved alike.
    logits = np.ones((5, 2)) @ np.asarray(far).reshape(2, 2)
    assert entropy_and_accuracy(jnp.asarray(logits), jnp.zeros(5, int))[0] > 10
