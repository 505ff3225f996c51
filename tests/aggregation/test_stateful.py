import jax.numpy as jnp
import numpy as np
import pytest

from fedmi.aggregation import fedexp_step, stateful, weighted_mean

UPLOADS, WEIGHTS = np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([0.25, 0.75])
DOWNLOAD = jnp.zeros(2)


def test_a_function_is_an_aggregator_without_a_state():
    parts = stateful(weighted_mean)
    model, state = parts.step(parts.init(DOWNLOAD), UPLOADS, WEIGHTS, DOWNLOAD)
    np.testing.assert_allclose(model, [2.5, 5.0])
    assert state == () and parts.client_step is None and parts.send is None


def test_it_is_given_the_download_if_it_takes_one():
    parts = stateful(fedexp_step)
    model, _ = parts.step((), UPLOADS, WEIGHTS, DOWNLOAD)
    np.testing.assert_allclose(model, fedexp_step(UPLOADS, WEIGHTS, download=DOWNLOAD))


class Half:
    def init(self, download):
        return ()

    def step(self, state, uploads, weights, download):
        return weights @ uploads, state

    def client_init(self, download):
        return ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "mine: a int; it must be a function of uploads and weights, or have .* `init`"),
        (Half, "mine: the class Half; pass one of its objects"),
        (Half(), "mine: `client_init` and `client_step` go together; give both"),
    ],
)
def test_what_is_no_aggregator_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        stateful(given, "mine")
