import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedmi
from fedmi import scopes
from fedmi.models.recurrent import RecurrentRegressor, dropout_masks
from fedmi.sampling.design import Design
from fedmi.study import params, ridge
from fedmi.tasks.signal import READINGS, draw_examples, draw_source, frames

_draw_examples = jax.jit(draw_examples, static_argnums=3)


@pytest.fixture(scope="module")
def task():
    return fedmi.tasks.get("signal")


@pytest.fixture(scope="module")
def keys(task):
    return {
        stream: jax.random.fold_in(jax.random.key(0), i) for i, stream in enumerate(task.streams)
    }


@pytest.mark.parametrize("reading", READINGS)
def test_every_reading_has_394_parameters(reading, keys):
    task = fedmi.tasks.get("signal", reading=reading)
    drawn = jax.eval_shape(task.init, keys)
    assert sum(leaf.size for leaf in jax.tree.leaves(drawn)) == 394 == task.parameter_count


@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_is_its_options(reading):
    """The table of readings, written down once more."""
    frame, hop, layers, gain, cell = {
        "vector": (64, 64, 4, 1.0, "simple"),
        "frames": (10, 6, 10, 0.5, "simple"),
        "lstm": (1, 1, 3, 1.0, "lstm"),
        "sequence": (1, 1, 11, 0.5, "simple"),
        "chaotic": (1, 1, 11, 1.0, "simple"),
    }[reading]
    expected = dict(frame=frame, hop=hop, layers=layers, recurrent_gain=gain, cell=cell)
    options = fedmi.tasks.get("signal", reading=reading).options
    assert expected.items() <= options.items()
    rate = 3 * options["learning_rate"]
    other = fedmi.tasks.get("signal", reading=reading, learning_rate=rate, layers=2)
    assert (other.learning_rate, other.options["layers"]) == (rate, 2)
    assert other.options["frame"] == frame
    steps = jax.eval_shape(lambda: frames(jnp.zeros((3, 64)), frame, hop)).shape
    assert steps == (3, (64 - frame) // hop + 1, frame)


def test_frames_fill_the_signal():
    signals = jnp.arange(2 * 64.0).reshape(2, 64)
    cut = np.asarray(frames(signals, 10, 6))
    assert cut.shape == (2, 10, 10)
    for step in range(10):
        np.testing.assert_array_equal(cut[:, step], signals[:, 6 * step : 6 * step + 10])
    np.testing.assert_array_equal(frames(signals, 64, 64)[:, 0], signals)
    np.testing.assert_array_equal(frames(signals, 1, 1)[:, :, 0], signals)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(frame=65), "frame: 65 points are more than the signal's length, 64"),
        (dict(frame=10, hop=7), "hop: frames of 10 points, 7 apart, do not fill a signal of 64"),
        (dict(frame=8, hop=14), "hop: .* must be at most 8"),
        (dict(reading="frames", frame=11), "hop: .* divide 53"),
    ],
)
def test_frames_that_leave_points_out_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fedmi.tasks.get("signal", **options)


@pytest.mark.parametrize(
    "reading",
    ["vector", *(pytest.param(r, marks=pytest.mark.slow) for r in READINGS if r != "vector")],
)
def test_the_loss_is_that_of_the_plain_network(reading, keys):
    task = fedmi.tasks.get("signal", reading=reading)
    options = {name: task.options[name] for name in ("layers", "cell")}
    network = RecurrentRegressor(**options)
    params, (x, y) = jax.jit(lambda keys: (task.init(keys), task.data(keys, ())))(keys)
    x, y = x[:5], y[:5]
    cut = frames(x, task.options["frame"], task.options["hop"])
    masks = dropout_masks(keys["dropout"], (5, options["layers"], 4), 0.0625)
    for key, kept in ((None, None), (keys["dropout"], masks)):
        predicted = jax.jit(network.apply)({"params": params}, cut, kept)
        expected = np.mean((predicted - y) ** 2)
        # Rounding grows along the sequence by as much as the recurrence lets it.
        np.testing.assert_allclose(jax.jit(task.loss)(params, (x, y), key)[0], expected, rtol=1e-4)
    errors = jax.jit(task.target_errors)(params, (x, y))
    assert task.targets == ("shift", "scale") and errors.shape == (2,)
    predicted = jax.jit(network.apply)({"params": params}, cut, None)
    np.testing.assert_allclose(errors, np.mean((predicted - y) ** 2, axis=0), rtol=1e-4)


def test_the_shift_can_be_told_from_a_clients_source_and_not_from_the_examples_own():
    """By ridge regression on the points of the signal, fitted to the client's own examples."""
    errors = {}
    for source in ("client", "example"):
        design = Design.of(fedmi.tasks.get("signal", source=source), coupling="independent")
        found = ridge.errors(design, seeds=20).mean(("seed", "client")).squeeze()
        errors[source] = [float(found[f"mse of {target}"]) for target in ("shift", "scale")]
    shift, scale = errors["client"]
    assert shift < 0.2 < 0.3 < scale < 0.7  # a constant has 1
    assert min(errors["example"]) > 0.95


def test_every_example_has_a_source_of_its_own(keys):
    task = fedmi.tasks.get("signal", source="example", noise=0.0)
    x, y = jax.jit(lambda keys: task.data(keys, ()))(keys)
    fresh, _ = jax.jit(lambda keys: task.held_out(keys, ()))(keys)
    assert x.shape == fresh.shape == (100, 64)
    shift = np.asarray(y[:, 0]) * 0.5 / 12**0.5
    scale = np.asarray(y[:, 1]) / 12**0.5 + 1
    amplitude, angular, phase = (
        np.asarray(part) for part in draw_source(keys["source"], (100, 5), 1.0, 4.0)
    )
    moved = np.arange(64) / 64 - shift[:, None]
    waves = amplitude[:, :, None] * np.sin(angular[:, :, None] * moved[:, None] + phase[:, :, None])
    np.testing.assert_allclose(x, scale[:, None] * waves.sum(axis=1), atol=1e-3)


def test_an_epoch_is_the_papers(task):
    assert task.examples == 100
    assert task.steps == 20
    assert task.metric == "mse"


def test_data_have_the_papers_shape_and_standardised_targets(task, keys):
    def data(key):
        return task.data(keys | dict(source=key, variation=key), ())

    x, y = jax.jit(jax.vmap(data))(jax.random.split(jax.random.key(1), 400))
    assert x.shape == (400, 100, 64)
    assert y.shape == (400, 100, 2)
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=0.02)
    np.testing.assert_allclose((y**2).mean((0, 1)), 1, atol=0.02)
    # So the best constant prediction has a mean squared error of 1, and sources unit variance.
    assert task.baseline == 1.0
    scale_square = 13 / 12
    np.testing.assert_allclose((x**2).mean(), scale_square + 0.05**2, rtol=0.05)


@pytest.fixture(scope="module")
def source():
    return jax.jit(draw_source, static_argnums=1)(jax.random.key(0), (5,), 1.0, 4.0)


def test_examples_are_shifted_and_scaled_copies_of_the_source(source):
    amplitude, angular, phase = (np.asarray(part) for part in source)
    times = jnp.arange(64) / 64
    x, y = _draw_examples(jax.random.key(1), source, times, 7, noise=0.0)
    shift = np.asarray(y[:, 0]) * 0.5 / 12**0.5
    scale = np.asarray(y[:, 1]) / 12**0.5 + 1
    for example in range(7):
        moved = np.asarray(times)[:, None] - shift[example]
        expected = scale[example] * np.sum(amplitude * np.sin(angular * moved + phase), axis=1)
        np.testing.assert_allclose(x[example], expected, atol=1e-4)


def test_noise_has_its_standard_deviation(source):
    times = jnp.arange(64) / 64
    clean, _ = _draw_examples(jax.random.key(1), source, times, 100, noise=0.0)
    noisy, _ = _draw_examples(jax.random.key(1), source, times, 100, noise=0.05)
    np.testing.assert_allclose(np.std(noisy - clean), 0.05, rtol=0.05)


def test_held_out_examples_are_of_the_same_source_and_new(task, keys):
    both = jax.jit(lambda keys: (task.data(keys, ()), task.held_out(keys, ())))
    (x, _), (fresh, _) = both(keys)
    assert x.shape == fresh.shape
    assert not np.isclose(x, fresh).all(axis=1).any()


def test_dropout_is_for_training_alone(keys):
    task = fedmi.tasks.get("signal", layers=3, length=8)
    theta, data = jax.jit(lambda keys: (task.init(keys), task.data(keys, ())))(keys)
    loss = jax.jit(task.loss)
    evaluated = [loss(theta, data, None)[0] for _ in range(2)]
    trained = [loss(theta, data, jax.random.key(i))[0] for i in range(2)]
    assert evaluated[0] == evaluated[1]
    assert trained[0] != trained[1]
    without = fedmi.tasks.get("signal", layers=3, length=8, dropout=0.0)
    assert jax.jit(without.loss)(theta, data, jax.random.key(0))[0] == evaluated[0]


def test_the_metric_improves_within_the_epoch():
    """The mean squared error falls by at least a quarter at the rate of the params files."""
    study = params.load("params/quick/signal.yaml")
    task = study.make_task()
    samples = fedmi.sample(task, seeds=256, checkpoints=[1, 20])
    held_out = fedmi.held_out_metric(task, samples, seeds=128).mean(("seed", "client"))
    assert held_out.sel(iteration=20) < 0.75 * held_out.sel(iteration=0)
    first, last = samples.metric.mean(("seed", "client")).values[[0, -1]]
    assert last < 0.75 * first


@pytest.mark.parametrize(
    "options",
    [
        dict(learning_rate="0.1"),
        dict(learning_rate=0.0),
        dict(batch_size=3),
        dict(dropout=1.0),
        dict(lowest_frequency=4.0, highest_frequency=2.0),
        dict(frequency=3.0),
        dict(reading="letters"),
        dict(cell="gru"),
        dict(initialiser="jax"),
        dict(recurrent_gain=0.0),
        dict(source="seed"),
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        fedmi.tasks.get("signal", **options)


def test_a_skewed_client_has_a_band_of_its_own():
    plain, skewed = fedmi.tasks.get("signal"), fedmi.tasks.get("signal", source_skew=0.75)
    assert "skew" not in plain.streams
    assert plain.options["source_skew"] is None
    assert skewed.streams == dict(plain.streams) | {"skew": "skew"}
    # Bands of width 0.75 in [1, 4]: a source of one client may be out of another's reach.
    coupling = scopes.resolve("shared-source", skewed.streams)

    def power(seed, client):
        keys = scopes.client_keys(jax.random.key(0), coupling, seed=seed, client=client)
        x = skewed.data(keys, ())[0]
        return jnp.mean(jnp.abs(jnp.fft.rfft(x, axis=1)) ** 2, axis=0)

    powers = jax.jit(jax.vmap(jax.vmap(power, (0, None)), (None, 0)))(jnp.arange(50), jnp.arange(3))
    low = np.asarray(powers).mean(axis=1)[:, :8]
    centres = (np.arange(8) * low).sum(axis=1) / low.sum(axis=1)
    assert max(centres) - min(centres) > 0.2
    one = jax.eval_shape(
        lambda k: skewed.held_out(k, ()), dict.fromkeys(skewed.streams, jax.random.key(0))
    )
    assert one[0].shape == (100, 64)
    with pytest.raises(ValueError, match="less than 1"):
        fedmi.tasks.get("signal", source_skew=1.0)


def test_no_skew_at_all_is_the_plain_task():
    plain, skewed = fedmi.tasks.get("signal"), fedmi.tasks.get("signal", source_skew=0.0)
    keys = {stream: jax.random.key(i) for i, stream in enumerate(skewed.streams)}
    both = jax.jit(lambda keys: (plain.data(keys, ()), skewed.data(keys, ())))
    for a, b in zip(*both(keys), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_an_ensemble_averages_predictions():
    task = fedmi.tasks.get("signal", layers=2, length=8)
    keys = {stream: jax.random.key(i) for i, stream in enumerate(task.streams)}
    init = jax.jit(task.init)
    clients = [init(keys | dict(init=jax.random.key(9 + q))) for q in range(3)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *clients)
    x, y = jax.jit(task.data)(keys, ())
    weights = jnp.array([0.5, 0.3, 0.2])
    network = RecurrentRegressor(layers=2)
    predict = jax.jit(lambda p: network.apply({"params": p}, x[:, None]))
    mean = sum(w * predict(p) for w, p in zip(weights, clients, strict=True))
    loss, metric = jax.jit(task.ensemble)(stacked, weights, (x, y))
    np.testing.assert_allclose(loss, jnp.mean((mean - y) ** 2), rtol=1e-5)
    assert loss == metric
