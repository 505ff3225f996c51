"""Whatever type numbers come in, they count as what they are; what is none is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi import aggregation
from fedmi.aggregation import linear, matching

pytestmark = pytest.mark.usefixtures("quickly_compiled")

TWO = [[1, 2], [2, 3]]
HALVES = [0.5, 0.5]
BESIDE = {
    "weighted_mean": {},
    "coordinate_median": {},
    "geometric_median": {},
    "server_step": {"download": [0, 1], "step": 1},
    "fedexp_step": {"download": [0, 1]},
    "fisher_mean": {"information": [[1, 2], [1, 2]]},
    "inverse_variance_mean": {"variances": [[3, 1], [3, 1]]},
}
TYPES = [
    "int8",
    "uint8",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "longdouble",
]


def mean_of(clients, weights=HALVES, name="weighted_mean", **changed):
    return getattr(aggregation, name)(clients, weights, **(BESIDE[name] | changed))


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", BESIDE)
def test_the_type_of_the_clients_does_not_decide_the_arithmetic(name, x64):
    with jax.enable_x64(x64):
        precision = np.float64 if x64 else np.float32
        mapped = jax.vmap(lambda of: mean_of(of, name=name))
        for kind in TYPES:
            clients = np.asarray(TWO, jnp.dtype(kind))
            for found in (
                mean_of(clients, name=name),
                aggregation.over_seeds(getattr(aggregation, name), clients[None], **BESIDE[name])[
                    0
                ],
            ):
                np.testing.assert_array_equal(found, [1.5, 2.5])
                assert found.dtype == precision
        for found in (
            mean_of(TWO, name=name),
            mapped(jnp.array([TWO]))[0],
            mapped(jnp.array([TWO], jnp.bfloat16))[0],
        ):
            np.testing.assert_array_equal(found, [1.5, 2.5])
            assert found.dtype == precision


def test_yes_and_no_are_one_and_zero():
    votes = np.array([[[True, False], [True, True], [False, False]]])
    found = aggregation.over_seeds(aggregation.weighted_mean, votes, counts=[1, 1, 2])
    np.testing.assert_array_equal(found, [[0.5, 0.25]])
    assert aggregation.over_seeds(aggregation.coordinate_median, votes).tolist() == [[1, 0]]


def test_what_is_beside_has_no_say_in_it_either():
    found = mean_of(TWO, name="server_step", download=np.array([1, 1], "uint8"), step=np.int8(2))
    np.testing.assert_array_equal(found, [2, 4])
    found = mean_of(TWO, name="fisher_mean", information=np.array([[True, False], [True, True]]))
    np.testing.assert_array_equal(found, [1.5, 3])


@pytest.mark.parametrize("unit", [1e-200, 1e-42, 1e-30, 1.0, 1e30, 1e200])
def test_the_unit_of_precisions_is_of_no_matter(unit):
    """Squares of small gradients and spreads are below what float32 holds."""
    ratio = unit * np.array([[1.0, 0], [3, 1]])
    found = mean_of(TWO, name="fisher_mean", information=ratio)
    np.testing.assert_allclose(found, [1.75, 3], rtol=1e-6)
    found = mean_of(TWO, name="inverse_variance_mean", variances=ratio)
    np.testing.assert_allclose(found, [1.25, 2], rtol=1e-6)


def masked(values):
    return np.ma.array(
        values, float, mask=np.arange(np.size(values)).reshape(np.shape(values)) == 1
    )


BAD = {
    "masked": masked(TWO),
    "masked in a list": [np.ma.array([1.0, -9999], mask=[False, True]), np.array([1.0, 2])],
    "complex": np.array(TWO) + 0j,
    "strings": [["1", "2"], ["2", "3"]],
    "unequal": [[1, 2], [3]],
    "nothing": [[None, 1], [2, 3]],
    "dates": np.array(TWO, "datetime64[s]"),
}


@pytest.mark.parametrize("values", BAD.values(), ids=BAD)
def test_what_is_no_real_number_is_refused_everywhere(values):
    eight = [values] * 8
    with pytest.raises(ValueError, match="^clients: "):
        mean_of(values)
    with pytest.raises(ValueError, match="^clients: "):
        aggregation.over_seeds(aggregation.weighted_mean, eight)
    for name, argument in (("fisher_mean", "information"), ("inverse_variance_mean", "variances")):
        with pytest.raises(ValueError, match=f"^{argument}: "):
            mean_of(TWO, name=name, **{argument: values})
        with pytest.raises(ValueError, match=f"^{argument}: "):
            aggregation.over_seeds(getattr(aggregation, name), [TWO], **{argument: values})
    with pytest.raises(ValueError, match="^clients: "):
        matching.matched_mean(values, HALVES, unravel=lambda w: w)
    with pytest.raises(ValueError, match="^target: "):
        linear.fit(np.ones((2, 3, 2)), values, np.zeros(2), kind="scalar")


def test_masks_that_hide_nothing_are_no_harm():
    np.testing.assert_array_equal(mean_of(np.ma.array(TWO)), [1.5, 2.5])


@pytest.mark.parametrize("bad", [np.nan, -1.0])
@pytest.mark.parametrize(
    ("name", "argument"), [("fisher_mean", "information"), ("inverse_variance_mean", "variances")]
)
def test_precisions_that_cannot_be_are_refused_and_never_the_plain_mean(name, argument, bad):
    values = np.array([[1.0, 1], [1, bad]])
    with pytest.raises(ValueError, match=f"{argument}: some are negative or not a number"):
        mean_of(TWO, name=name, **{argument: values})
    with pytest.raises(ValueError, match=f"{argument}: some are n"):
        aggregation.over_seeds(getattr(aggregation, name), [TWO], **{argument: values})
    compiled = jax.jit(lambda v: mean_of(TWO, name=name, **{argument: v}))
    np.testing.assert_array_equal(compiled(values), [1.5, np.nan])


def test_infinite_information_is_refused_and_infinite_variances_count_for_nothing():
    infinite = np.array([[1.0, 1], [1, np.inf]])
    with pytest.raises(ValueError, match="information: some are infinite"):
        mean_of(TWO, name="fisher_mean", information=infinite)
    found = mean_of(TWO, name="inverse_variance_mean", variances=infinite)
    np.testing.assert_array_equal(found, [1.5, 2])
    found = mean_of(TWO, [0.25, 0.75], "inverse_variance_mean", variances=infinite * [[1, np.inf]])
    np.testing.assert_array_equal(found, [1.5, 2.75])  # of none anything is known: the mean


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("weighted_mean", dict(weights=[1, 1]), r"weights: \[1.0, 1.0\] are no shares"),
        ("coordinate_median", dict(weights=[1, 1]), r"weights: \[1.0, 1.0\] are no shares"),
        ("geometric_median", dict(weights=[1.5, -0.5]), "weights: .* are no shares"),
        ("weighted_mean", dict(weights=[np.nan, 1]), "weights: .* are no shares"),
        ("weighted_mean", dict(weights=[1.0]), r"weights: shape \(1,\); it must be one a client"),
        ("weighted_mean", dict(clients=[1, 2]), r"clients: shape \(2,\)"),
        ("server_step", dict(step=np.nan), "step: not finite"),
        ("server_step", dict(step=[1.0, 2.0]), r"step: shape \(2,\); it must be one number"),
        ("server_step", dict(download=[0, np.inf]), "download: not finite"),
        ("server_step", dict(download=0.0), r"download: shape \(\); it must be one number a par"),
        ("server_step", dict(download=TWO), r"download: shape \(2, 2\)"),
        ("fisher_mean", dict(information=[1, 2]), r"information: shape \(2,\)"),
        ("inverse_variance_mean", dict(variances=1.0), r"variances: shape \(\)"),
    ],
)
def test_other_shapes_and_weights_are_refused(name, changed, message):
    with pytest.raises(ValueError, match=message):
        mean_of(**(dict(clients=TWO, name=name) | changed))


def test_seeds_that_cannot_be_aggregated_are_refused():
    def at(clients=(TWO,), counts=None, name="weighted_mean", **beside):
        return aggregation.over_seeds(getattr(aggregation, name), clients, counts, **beside)

    for empty in ((0, 2, 3), (2, 0, 3), (2, 3, 0)):
        with pytest.raises(ValueError, match="clients: shape .*, none of them 0"):
            at(np.zeros(empty))
    with pytest.raises(ValueError, match=r"clients: 1 are not finite, .*float32"):
        at([[[1e300, 1], [1, 1]]])
    for counts in (["1", "2"], [1, np.nan], [1, None], masked([1, 2]), [1j, 1], [-1, 2], [1, 2, 3]):
        with pytest.raises(ValueError, match="^counts: "):
            at(counts=counts)
    with pytest.raises(ValueError, match="download: some are not a number"):
        at(name="server_step", download=[0, np.nan], step=1.0)
    with pytest.raises(ValueError, match=r"download: shape \(1, 2\)"):  # not one a seed
        at(name="server_step", download=[[0, 0]], step=1.0)
    with pytest.raises(ValueError, match="aggregator: a str, not a function"):
        aggregation.over_seeds("mean", [TWO])
