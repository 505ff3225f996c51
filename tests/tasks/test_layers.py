from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fedmi import tasks
from fedmi.sampling.replay import unraveller
from fedmi.tasks.layers import WHOLE, layers
from tests import tiny


@pytest.mark.parametrize("task", [tiny.nested(), tasks.get("signal")], ids=lambda task: task.name)
def test_slices_of_theta_are_the_layers(task):
    theta = np.arange(task.parameter_count, dtype=np.float32)
    params = unraveller(task)(theta)
    found = layers(task)
    assert len(found) > 1 and set(found) == set(params)
    for name, place in found.items():
        np.testing.assert_array_equal(theta[place], ravel_pytree(params[name])[0])
    together = np.concatenate([theta[place] for place in found.values()])
    np.testing.assert_array_equal(together, theta)


def test_a_network_of_one_layer_is_whole():
    assert layers(tiny.task) == {WHOLE: slice(0, 12)}
    assert layers(tasks.get("digits")) == {WHOLE: slice(0, 850)}
    assert layers(replace(tiny.task, init=lambda keys: jnp.zeros(3))) == {WHOLE: slice(0, 3)}


def test_an_array_beside_layers_is_a_layer():
    task = replace(
        tiny.task, init=lambda keys: {"a": {"w": np.zeros(2)}, "b": np.zeros(3), "c": [np.zeros(1)]}
    )
    assert layers(task) == {"a": slice(0, 2), "b": slice(2, 5), "c": slice(5, 6)}
