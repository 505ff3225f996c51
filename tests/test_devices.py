import jax
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
