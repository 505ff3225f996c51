import jax
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import gammaln

from fedmi import mi
from fedmi.mi.trust import laws
from fedmi.mi.trust.laws import Mapped, Normal, StudentT, UniformNoise, paired

DIMENSIONS = [1, 2, 50, 394, 850]


def canonical_bits(covariance, p):
    """A second formula: the sum over canonical correlations."""
    half = [np.linalg.inv(np.linalg.cholesky(c)) for c in (covariance[:p, :p], covariance[p:, p:])]
    r = np.linalg.svd(half[0] @ covariance[:p, p:] @ half[1].T, compute_uv=False)
    return -0.5 * np.log2(1 - r**2).sum()


# ---- formulas ----


def test_normal_of_known_correlations():
    law = Normal(paired([0.75, -0.2]), 2)
    assert law.mi_bits == pytest.approx(-0.5 * np.log2((1 - 0.75**2) * (1 - 0.2**2)))
    assert Normal(paired([0.75]), 1).mi_bits == pytest.approx(0.5963, abs=5e-5)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("mi_bits", [0.0, 8.0])
def test_covariances_have_the_mi_asked_for(d, mi_bits):
    made = {
        "dense": laws.dense(d, mi_bits),
        "sparse": laws.sparse(d, min(d, 3), mi_bits),
    }
    for name, covariance in made.items():
        assert Normal(covariance, d).mi_bits == pytest.approx(mi_bits, abs=1e-6), name
        assert canonical_bits(covariance, d) == pytest.approx(mi_bits, abs=1e-6), name
        np.testing.assert_allclose(np.diag(covariance), 1)


def test_many_bits_are_spread_over_many_pairs():
    assert Normal(laws.sparse(850, 50, 200.0), 850).mi_bits == pytest.approx(200.0)


def test_student_t_agrees_with_integration():
    law = StudentT(paired([0.6]), 1, df=3.0)
    joint = stats.multivariate_t(shape=law.scale, df=law.df)
    margin = stats.t(df=law.df)

    # Substituting x = sinh(u) brings the tails within reach of a grid.
    u, v = np.meshgrid(*[np.linspace(-9, 9, 181)] * 2)
    x, y = np.sinh(u), np.sinh(v)
    log_joint = joint.logpdf(np.stack([x, y], axis=-1))
    log_ratio = log_joint - margin.logpdf(x) - margin.logpdf(y)
    values = np.exp(log_joint) * log_ratio * np.cosh(u) * np.cosh(v)
    grid = u[0]
    nats = integrate.simpson(integrate.simpson(values, x=grid), x=grid)
    assert law.mi_bits == pytest.approx(nats / np.log(2), abs=1e-3)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_student_t_agrees_with_the_mean_log_ratio_of_its_densities(d):
    """A second formula in any dimension: the log ratio depends on two sums of squares alone."""
    df, n = 5.0, 40_000
    law = StudentT(np.eye(2 * d), d, df)
    rng = np.random.default_rng(d)
    x2, y2 = rng.chisquare(d, (2, n)) * df / rng.chisquare(df, n)

    def log_density(squares, dimension):
        """Of a standard t law at points of these squared norms."""
        half = (df + dimension) / 2
        constant = gammaln(half) - gammaln(df / 2) - dimension / 2 * np.log(df * np.pi)
        return constant - half * np.log1p(squares / df)

    ratio = log_density(x2 + y2, 2 * d) - log_density(x2, d) - log_density(y2, d)
    bits = ratio / np.log(2)
    assert np.isfinite(law.mi_bits)
    assert abs(law.mi_bits - bits.mean()) < 4.5 * bits.std() / np.sqrt(n)


def test_student_t_becomes_normal():
    covariance = paired([0.5, 0.1])
    assert StudentT(covariance, 2, 1e7).mi_bits == pytest.approx(Normal(covariance, 2).mi_bits)


@pytest.mark.parametrize("width", [0.05, 0.5, 2.0])
def test_uniform_noise_agrees_with_the_entropy_of_a_trapezium(width):
    y = np.linspace(-width, 1 + width, 400_001)
    # The part of (0, 1) that lies within `width` of y, over the length of the noise.
    density = (np.clip(y + width, 0, 1) - np.clip(y - width, 0, 1)) / (2 * width)
    entropy = integrate.trapezoid(-density * np.log(np.maximum(density, 1e-300)), y)
    bits = (entropy - np.log(2 * width)) / np.log(2)
    assert UniformNoise(width).mi_bits == pytest.approx(bits, abs=1e-4)
    assert UniformNoise(width, d=850).mi_bits == pytest.approx(850 * bits, rel=1e-4)


def test_scaled_correlations_have_the_mi_and_keep_their_order():
    squares = np.array([0.9, 0.5, 0.01, 0.0])
    for mi_bits in (0.0, 1e-3, 5.0, 30.0):
        scaled = laws.scale_to(squares, mi_bits)
        assert -0.5 * np.log2(1 - scaled).sum() == pytest.approx(mi_bits, rel=1e-6)
        assert (np.diff(scaled) <= 0).all() and scaled[-1] == 0


# ---- samplers, by estimators that can see the law ----


@pytest.mark.parametrize(
    "law",
    [
        Normal(laws.dense(2, 0.8), 2),
        Normal(laws.sparse(2, 1, 0.8), 2),
        UniformNoise(0.3),
        UniformNoise(0.75),
        Mapped(StudentT(paired([0.5]), 1, 2.0), np.arcsinh, np.arcsinh),
    ],
    ids=["dense", "sparse", "uniform", "wide uniform", "student"],
)
def test_samples_have_the_mi(law):
    draws = [mi.ksg(*law.sample(k, 1500)).bits for k in jax.random.split(jax.random.key(0), 5)]
    error = np.std(draws, ddof=1) / np.sqrt(len(draws))
    assert np.mean(draws) == pytest.approx(law.mi_bits, abs=4 * error + 0.02)


@pytest.mark.parametrize("d", [50, 394, 850])
def test_high_dimensional_normal_samples_have_the_mi(d):
    law = Normal(laws.sparse(d, 5, 6.0), d)
    e = mi.gaussian(*law.sample(jax.random.key(d), 4 * d))
    assert abs(e.bits - 6.0) < 4 * (e.interval[1] - e.bits) / 1.96


def test_samples_have_the_law():
    covariance = paired([0.75, -0.2])
    x, y = Normal(covariance, 2).sample(jax.random.key(0), 20_000)
    assert (x.shape, y.shape, x.dtype) == ((20_000, 2), (20_000, 2), np.float64)
    np.testing.assert_allclose(np.cov(np.hstack([x, y]).T), covariance, atol=0.05)
    x, y = StudentT(covariance, 2, 4.0).sample(jax.random.key(0), 2000)
    for column in np.hstack([x, y]).T:
        assert stats.kstest(column, stats.t(df=4.0).cdf).pvalue > 1e-3


def test_very_heavy_tails_stay_finite():
    x, y = StudentT(np.eye(1700), 850, 0.05).sample(jax.random.key(0), 20)
    assert np.isfinite(x).all() and np.isfinite(y).all()
    assert np.isfinite(StudentT(np.eye(1700), 850, 0.05).mi_bits)


def test_invertible_maps_leave_the_gaussian_estimate_as_it_is():
    law = Normal(laws.dense(3, 1.0), 3)
    matrix = np.array([[2.0, 1, 0], [0, 1, 3], [1, 0, 1]])
    mapped = Mapped(law, lambda x: x @ matrix.T, lambda y: -y @ matrix)
    assert mapped.mi_bits == law.mi_bits
    key = jax.random.key(1)
    one, other = mi.gaussian(*law.sample(key, 200)), mi.gaussian(*mapped.sample(key, 200))
    assert one.bits == pytest.approx(other.bits, abs=1e-9)


# ---- refusals ----


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(np.eye(3), 3), "p: 3 is not one of 1 to 2"),
        (lambda: Normal(np.ones((2, 2)), 1), "covariance: is not positive definite"),
        (lambda: Normal(np.array([[1, 0.5], [0, 1]]), 1), "covariance: is not symmetric"),
        (lambda: Normal(np.ones((2, 3)), 1), "covariance: shape"),
        (lambda: StudentT(np.eye(2), 1, 0.0), "df: 0.0"),
        (lambda: UniformNoise(-1.0), "width: -1.0"),
        (lambda: laws.sparse(3, 4, 1.0), "pairs: 4 is not one of 1 to 3"),
        (lambda: laws.dense(3, -1.0), "mi_bits: -1.0"),
        (lambda: laws.scale_to(np.zeros(3), 1.0), "squares: "),
        (lambda: laws.scale_to(np.array([1.0]), 1.0), "squares: "),
        (lambda: laws.scale_to(np.array([0.5, 0.5, 0]), 25.0), "more than 2 directions can carry"),
    ],
)
def test_impossible_laws_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
