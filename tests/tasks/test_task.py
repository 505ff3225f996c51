import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedmi
from tests import tiny


def test_a_task_counts_its_steps_and_parameters():
    assert tiny.task.steps == 4
    assert tiny.task.parameter_count == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(batch_size=5), "batch_size: 5 does not divide the 16 examples"),
        (dict(batch_size=0), "batch_size: 0 is not a finite number above 0"),
        (dict(learning_rate=-1.0), "learning_rate: -1.0 is not a finite number above 0"),
        (dict(learning_rate=float("nan")), "learning_rate: nan is not a finite number above 0"),
        (dict(learning_rate=float("inf")), "learning_rate: inf is not a finite number above 0"),
        (dict(learning_rate=True), "learning_rate: True is not a finite number above 0"),
        (dict(examples=16.0), "examples: 16.0 is not a whole number"),
        (dict(epochs=0), "epochs: 0 is not a finite number above 0"),
        (dict(epochs=1.5), "epochs: 1.5 is not a whole number"),
        (dict(clip_norm=0.0), "clip_norm: 0.0 is not a finite number above 0"),
        (dict(batch_size=np.float64(4.0)), "batch_size: 4.0 is not a whole number"),
        (dict(learning_rate=np.float32("nan")), "learning_rate: nan is not a finite number"),
        (dict(learning_rate=np.array([0.1])), "learning_rate: array.* is not a finite number"),
        (dict(learning_rate=0.1 + 0j), "learning_rate: .* is not a finite number"),
        (dict(loss=None), "loss: None is not a function"),
        (dict(learning_rate=10**400), "learning_rate: 10* is not a finite number"),
        (dict(options=[1]), "options: .* is not a mapping"),
        (dict(streams=["init", "order"]), "streams: .* is not a mapping"),
        (dict(streams={"init": "init"}), "0 streams play the part 'order'"),
        (dict(streams=dict(init="init", head="init", order="order")), "2 streams play the part"),
    ],
)
def test_an_impossible_task_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tiny.task, **changes)


def test_numbers_may_be_numpys_or_jaxs():
    numbers = dict(batch_size=np.int64(4), examples=np.uint8(16), learning_rate=jnp.float32(0.25))
    task = dataclasses.replace(tiny.task, **numbers, epochs=np.array(1), options={})
    assert (task.steps, type(task.batch_size), type(task.learning_rate)) == (4, int, float)
    plain = dataclasses.replace(tiny.task, options={})
    found, expected = (fedmi.sample(t, seeds=2, tile=2) for t in (task, plain))
    assert found.attrs == expected.attrs
    np.testing.assert_array_equal(found.theta, expected.theta)


def test_numpys_numbers_among_the_options_are_recorded():
    given = dict(rate=np.float32(0.5), sizes=np.arange(3), pair=(1, np.int8(2)))
    task = dataclasses.replace(tiny.task, options=given)
    recorded = fedmi.sample(task, seeds=2, tile=2).attrs["options"]
    assert recorded == dict(rate=0.5, sizes=[0, 1, 2], pair=[1, 2])


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), [1.0, float("-inf")], {1, 2}])
def test_options_that_cannot_be_recorded_are_refused(value):
    task = dataclasses.replace(tiny.task, options=dict(value=value))
    with pytest.raises(ValueError, match="options: .* cannot be written as JSON .* finite numbers"):
        fedmi.sample(task, seeds=2)


def returning(**values):
    """The tiny task, whose functions return these values instead of their own."""
    made = {name: lambda *_, value=value: value for name, value in values.items()}
    return dataclasses.replace(tiny.task, **made)


def with_loss(change):
    """The tiny task, whose loss and metric are changed."""
    own = tiny.squared_distance
    return dataclasses.replace(tiny.task, loss=lambda *a: change(*own(*a)))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (returning(init={"w": jnp.zeros(2, int)}), "init: .* of type int32"),
        (returning(init={"w": 1}), "init: .* of type int32"),
        (returning(init={"w": np.zeros(2, complex)}), "init: .* of type complex64"),
        (returning(init={"w": jnp.zeros(2, bool)}), "init: .* of type bool"),
        (returning(init={"w": "zeros"}), "init: returned 'zeros', which is no array of numbers"),
        (returning(init=None), "init: returned None, which holds no parameters"),
        (returning(init={"w": np.zeros((0, 4))}), "init: returned .* holds no parameters"),
        (returning(init={"w": np.array([1e300])}), "init: returned float64 beyond what float32"),
        (returning(data=np.full(16, 2**40)), "data: returned int64 beyond what int32 can hold"),
        (returning(init={}), "init: returned {}, which holds no parameters"),
        (
            returning(init={"w": np.ma.masked_equal([1.0, 2.0], 2)}),
            "init: returned a MaskedArray of float64",
        ),
        (returning(data=[0.0] * 16), "data: returned single numbers"),
        (returning(data=(np.zeros((16, 12)), np.zeros(15))), "data: returned arrays of .15, 16."),
        (returning(data=np.zeros((8, 12))), "data: .*16 examples"),
        (returning(data=()), "data: returned arrays of .. examples"),
        (
            returning(data=np.array(["a"] * 16)),
            "data: returned a ndarray of <U1, which is no array",
        ),
        (returning(loss=0.0), "loss: returned 0.0; it must return two scalars"),
        (returning(loss=(0, 0.0)), "loss: its loss is of type int32"),
        (with_loss(lambda loss, metric: (loss, metric[None])), r"loss: its metric has .*\(1,\)"),
        (with_loss(lambda loss, metric: (loss, jnp.full(3, metric))), r"loss: its metric .*\(3,\)"),
        (with_loss(lambda loss, metric: (loss * jnp.ones(2), metric)), r"loss: its loss .*\(2,\)"),
        (with_loss(lambda loss, metric: (loss, metric + 1j)), "loss: .*complex64"),
        (with_loss(lambda loss, metric: loss), "loss: returned .* two scalars"),
        (returning(assets={"name": "mnist"}), "assets: returned 'mnist'"),
    ],
)
def test_impossible_outputs_of_a_task_are_refused(task, message):
    with pytest.raises(ValueError, match=message):
        fedmi.sample(task, seeds=2)


def test_impossible_held_out_data_are_refused():
    samples = fedmi.sample(tiny.task, seeds=2, tile=2)
    with pytest.raises(ValueError, match="held_out: returned single numbers"):
        fedmi.held_out_metric(returning(held_out=[1.0, 2.0]), samples, seeds=2)


def test_numpys_arrays_and_pythons_numbers_will_do():
    """Data may be NumPy's, parameters Python's, and the metric a count."""
    x = np.random.default_rng(0).normal(size=16)

    def loss(params, batch, key):
        error = jnp.mean((params["offset"] + params["more"][0] - batch) ** 2)
        return error, jnp.sum(batch > params["offset"])

    task = dataclasses.replace(
        tiny.task,
        init=lambda keys: {"offset": 0.0, "more": np.zeros(1)},
        data=lambda keys, assets: x,
        loss=loss,
    )
    samples = fedmi.sample(task, seeds=2, tile=2, checkpoints=[1, 4])
    assert samples.sizes["parameter"] == 2 and samples.theta.dtype == np.float32
    assert np.isfinite(samples.theta).all() and (samples.metric % 1 == 0).all()
    assert (samples.theta != 0).all()  # and both parameters have the same gradient
    np.testing.assert_allclose(samples.theta[..., 0], samples.theta[..., 1], rtol=1e-6)


def test_what_is_refused_is_refused_wherever_it_is_called():
    task = with_loss(lambda loss, metric: (loss, metric[None]))
    params = task.init(dict.fromkeys(task.streams, jax.random.key(0)))
    with pytest.raises(ValueError, match=re.escape("loss: its metric has the shape (1,)")):
        task.loss(params, jnp.zeros((4, 12)), None)
