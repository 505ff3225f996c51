import numpy as np
import pytest

from benchmarks import proposition as simulated
from fedmi.study import proposition
from fedmi.study.additive import centred

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SIMULATIONS = 100


def serially(function, count):
    return map(function, range(count))


def rejected(model, simulations):
    """Test -> share of the simulations in which it rejects, the slow one on few seeds."""
    return {
        row["test"]: row["rejected"]
        for row in simulated.rows(model, simulations, 59, 100, serially)
    }


@pytest.mark.parametrize("model", [name for name, m in simulated.MODELS.items() if m.additive])
def test_the_additive_model_is_rejected_as_seldom_as_it_should(model):
    shares = rejected(model, SIMULATIONS)
    assert len(shares) == (7 if simulated.MODELS[model].tests == simulated.ALL else 1)
    assert max(shares.values()) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / SIMULATIONS)


@pytest.mark.parametrize("model", [n for n, m in simulated.MODELS.items() if not m.additive])
def test_what_breaks_the_model_is_found(model):
    shares = rejected(model, 10)
    slow = "third client, distance correlation"  # needs more than a hundred seeds
    assert min(share for test, share in shares.items() if test != slow) >= 0.9


def test_any_dependence_of_a_difference_on_the_third_client_is_found():
    p_values = [simulated.p_values("noise with the shared", 59, 600, i) for i in range(5)]
    assert max(p["third client, distance correlation"] for p in p_values) <= 0.05


def test_statistics_by_hand():
    x = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    y = x @ [[0, 1], [0, 0]]  # Cov = [[0, 1/2], [0, 0]]: half symmetric, half not
    assert proposition.symmetry(x, y).statistic == pytest.approx(0.5)
    assert proposition.symmetry(x, x).statistic == 0
    assert proposition.equality([x, x, x]).statistic == 0
    # Cov(X, Y - Z) and Cov(Y, X - Z) have the squared norm 1/4, Cov(Z, X - Y) is 0; of the
    # cross-covariances one is not 0, and has 1/4.
    assert proposition.equality([x, y, 0 * x]).statistic == pytest.approx(2)
    draw = np.random.default_rng(2)
    w = draw.standard_normal((4000, 3))
    assert proposition.definiteness([w, -w]).statistic == pytest.approx(-1)
    assert proposition.definiteness([w, -w]).p_value < 1e-6
    assert proposition.definiteness([w, w]).p_value > 0.5


def cross(x, y, signs):
    """The cross-covariance of centred samples, each seed's product less the mean with its sign."""
    mean = x.T @ y / len(x)
    if signs is None:
        return mean
    return ((x * signs[:, None]).T @ y - signs.sum() * mean) / len(x)


def antisymmetric(arrays, signs=None):
    c = cross(*arrays, signs)
    return ((c - c.T) ** 2).sum() / 4


def unequal(arrays, signs=None):
    return sum(
        (cross(arrays[i], arrays[j] - arrays[k], signs) ** 2).sum()
        for i, j, k in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    ("plain", "count", "test"),
    [
        (antisymmetric, 2, lambda w, **options: proposition.symmetry(*w, **options)),
        (unequal, 3, proposition.equality),
    ],
)
def test_the_kernel_is_the_plain_bootstrap(plain, count, test, scale, monkeypatch):
    """As the formulas have it: a cross-covariance of signed seeds a draw, in float64."""
    monkeypatch.setattr(proposition, "BLOCK", 300)
    clients = simulated.turned(np.random.default_rng(6))[:count]
    found = test([scale * w for w in clients], draws=99, seed=3)
    arrays = centred(clients)
    signs = np.random.default_rng(3).choice(np.array([-1.0, 1.0]), (len(arrays[0]), 99))
    own = plain(arrays)
    null = np.array([plain(arrays, column) for column in signs.T])
    pairs = [(i, j) for i in range(count) for j in range(i)]
    whole = sum(((arrays[i].T @ arrays[j] / 1000) ** 2).sum() for i, j in pairs)
    assert found.statistic == pytest.approx(own / whole, rel=1e-4)
    assert found.expected == pytest.approx(null.mean() / whole, rel=1e-4)
    # The kernel is in float32, and so close to the statistic a draw may be on either side of it.
    close = np.abs(null / own - 1) < 1e-4
    assert close.sum() <= 1
    assert abs(found.p_value - (1 + (null >= own).sum()) / 100) <= close.sum() / 100 + 1e-12


def test_directions_that_do_not_vary_change_nothing():
    w = simulated.opposed(np.random.default_rng(7))
    wide = [np.hstack([a, np.ones((len(a), 5)), a[:, :3]]) for a in w]  # rank 20 of 28
    plain, found = (proposition.definiteness(c[:3]) for c in (w, wide))
    assert found.statistic == pytest.approx(plain.statistic)
    # In float32 too, in which repeated directions differ by rounding.
    turn = np.linalg.qr(np.random.default_rng(8).standard_normal((28, 28)))[0]
    blurred = [(a @ turn).astype(np.float32) for a in wide[:3]]
    assert proposition.definiteness(blurred).statistic == pytest.approx(plain.statistic, rel=1e-3)


@pytest.mark.parametrize("strength", [0.0, 0.2, 0.4])
def test_the_variation_of_the_noise_is_found(strength):
    """Noise of scale exp(a p) has the variance exp(2 a p), of squared variation exp(4 a^2) - 1."""
    draw, n = np.random.default_rng(9), 20_000
    p = draw.standard_normal((n, 20))
    clients = [p + np.exp(strength * p[:, :1]) * draw.standard_normal((n, 20)) for _ in range(4)]
    found = proposition.noise_dependence(clients)
    truth = np.expm1(4 * strength**2)
    assert abs(found.squared_variation - truth) < 3 * found.squared_error
    low, high = found.interval
    assert low <= found.variation <= high
    if strength:
        assert abs(found.variation / np.sqrt(truth) - 1) < 0.15
        assert low > 0
    assert (
        (found.on_each_other.p_value < 1e-6) == (found.on_shared.p_value < 1e-6) == bool(strength)
    )


def test_the_error_of_the_variation_is_its_spread():
    found = [
        proposition.noise_dependence(simulated.noisier(np.random.default_rng(i)))
        for i in range(200)
    ]
    truth = np.expm1(0.64)
    squares = np.array([f.squared_variation for f in found])
    errors = np.array([f.squared_error for f in found])
    assert errors.mean() == pytest.approx(squares.std(), rel=0.3)
    assert (np.abs(squares - truth) < 1.96 * errors).mean() > 0.75  # skewed: log-normal squares


def test_noises_that_depend_on_each_other_and_not_on_the_shared_part():
    """All four have one more factor s of their size in common, which their means do not show."""
    draw, n = np.random.default_rng(10), 4000
    p, size = draw.standard_normal((n, 20)), np.exp(0.3 * draw.standard_normal((n, 1)))
    clients = [3 * p + size * draw.standard_normal((n, 20)) for _ in range(4)]
    found = proposition.noise_dependence(clients)
    assert found.on_each_other.p_value < 1e-6
    assert found.on_each_other.statistic > 3 * abs(found.on_shared.statistic)


def test_clients_that_are_all_the_same_break_nothing():
    x = np.random.default_rng(11).standard_normal((100, 3))
    assert [t.p_value for t in proposition.third_client([x, x, x], draws=9)] == [1, 1]
    with pytest.raises(ValueError, match="no noise"):
        proposition.noise_dependence([x, x, x, x])


def test_impossible_clients_are_refused():
    x = np.random.default_rng(5).standard_normal((50, 3))
    with pytest.raises(ValueError, match="2 clients; this compares three"):
        proposition.equality([x, x])
    with pytest.raises(ValueError, match="3, 2 components"):
        proposition.symmetry(x, x[:, :2])
    with pytest.raises(ValueError, match="clients.1."):
        proposition.third_client([x, x * np.nan, x])
    with pytest.raises(ValueError, match="3 clients; this splits four"):
        proposition.noise_dependence([x, x, x])
    with pytest.raises(ValueError, match="draws: 0"):
        proposition.symmetry(x, x, draws=0)
    with pytest.raises(ValueError, match="do not vary"):
        proposition.definiteness([np.ones((50, 3))] * 2)
