import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi import devices


@pytest.mark.parametrize(
    ("most", "power"), [(-3, 1), (0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (1023, 512), (1024, 1024)]
)
def test_the_largest_power_of_two(most, power):
    assert devices.power_of_two(most) == power


def test_a_cpu_does_not_say_what_it_holds():
    if jax.default_backend() == "cpu":
        assert devices.memory() is None


@pytest.mark.parametrize("name", ["qr", "eigh", "solve"])
def test_a_batch_of_matrices_goes_to_lapack_one_by_one(name):
    """The same numbers, and no batch that threads which wait for it would have to share out."""
    function = getattr(jnp.linalg, name)
    draws = jax.random.normal(jax.random.key(0), (7, 3, 3))
    arrays = {"qr": (draws,), "eigh": (draws + jnp.swapaxes(draws, 1, 2),)}
    given = arrays.get(name, (draws, draws[:, 0]))
    loop = jax.jit(jax.vmap(devices.one_by_one(function)))
    expected = [function(*(array[i] for array in given)) for i in range(7)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected)
    for found, leaf in zip(jax.tree.leaves(loop(*given)), jax.tree.leaves(stacked), strict=True):
        np.testing.assert_allclose(found, leaf, rtol=1e-5, atol=1e-6)
    calls = re.findall(r"custom_call @lapack_\w+\(.*\) -> .*", loop.lower(*given).as_text())
    assert calls and not any("<7x" in call for call in calls)
    batch = jax.jit(jax.vmap(function)).lower(*given).as_text()
    assert any("<7x" in call for call in re.findall(r"custom_call @lapack_.*", batch))


def test_lapack_is_called_one_by_one_everywhere():
    calls = re.compile(
        r"(jnp|jax\.scipy)\.linalg\.(qr|eigh?|eigvals|svd|solve|inv|cholesky|lstsq|pinv)\b"
    )
    for path in (Path(__file__).parents[1] / "fedmi").rglob("*.py"):
        for line in path.read_text().splitlines():
            if calls.search(line):
                assert "one_by_one(" in line, (path, line)
