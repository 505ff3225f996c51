"""Ridge regression on a task whose best linear prediction is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi.sampling.design import Design
from fedmi.study import ridge
from tests import tiny

NOISE = 0.5


def points(keys, assets, more=0):
    """Inputs of two numbers; the first target is linear in them, the second hangs on nothing."""
    key = jax.random.fold_in(keys["variation"], more)
    x, noise = jnp.split(jax.random.normal(key, (16 * 20, 4), jnp.float32), 2, axis=1)
    linear = x @ jnp.array([1.0, -2.0]) + 3 + NOISE * noise[:, 0]
    return x, jnp.stack([linear, noise[:, 1]], axis=1)


TASK = dataclasses.replace(
    tiny.task,
    examples=320,
    data=points,
    held_out=lambda keys, assets: points(keys, assets, more=1),
    targets=("linear", "nothing"),
    target_errors=lambda params, batch: jnp.zeros(2),
)


def test_what_is_linear_is_found_and_nothing_is_not():
    found = ridge.errors(Design.of(TASK), seeds=10)
    assert list(found) == ["distance of linear", "distance of nothing"]
    assert found["distance of linear"].shape == (10, 3, 1)
    assert found.iteration.values.tolist() == [TASK.steps]
    # Variances of the noise, and 3 / 320 more for the three fitted numbers; mean squares of
    # 9,600 normal numbers spread by sqrt(2 / 9600).
    for name, variance in (("linear", NOISE**2), ("nothing", 1.0)):
        expected = variance * (1 + 3 / 320)
        error = float(found[f"distance of {name}"].mean()) - expected
        assert abs(error) < 5 * expected * np.sqrt(2 / 9600)


def test_names_without_errors_are_refused():
    with pytest.raises(ValueError, match="targets: .* go together"):
        dataclasses.replace(TASK, target_errors=None)
    with pytest.raises(ValueError, match="targets: .* go together"):
        dataclasses.replace(TASK, targets=())
