import numpy as np
import pytest

from fedmi import proposition
from fedmi.mi import gaussian

D, N = 20, 1000
DRAW = np.random.default_rng(0)
MIX = DRAW.standard_normal((D, D)) / np.sqrt(D)


def additive(draw, n=N, shared=1.0):
    """One thing plus independent noise, of other laws and sizes at every client."""
    p = draw.standard_normal((n, D)) @ MIX * shared
    noises = (
        draw.standard_normal((n, D)),
        draw.standard_t(8, (n, D)) * 0.7,
        draw.uniform(-2, 2, (n, D)) @ MIX,
    )
    return [p + noise for noise in noises]


def nothing_shared(draw):
    return additive(draw, shared=0.0)


def turned(draw):
    """Y has what is shared turned by a rotation: the cross-covariance is not symmetric."""
    p, turn = draw.standard_normal((N, D)), np.linalg.qr(MIX)[0]
    return [q + draw.standard_normal((N, D)) for q in (p, p @ turn, p)]


def unequal(draw):
    """Z has more of what is shared."""
    p = draw.standard_normal((N, D))
    return [q + draw.standard_normal((N, D)) for q in (p, p, 1.5 * p)]


def opposed(draw):
    """In two of twenty directions clients go opposite ways."""
    p = draw.standard_normal((N, D))
    signs = np.r_[-np.ones(2), np.ones(D - 2)]
    return [q + draw.standard_normal((N, D)) for q in (p, p * signs, p * signs[::-1])]


def noisier_with_the_shared(draw):
    """The noise is larger where what is shared is: uncorrelated with it, and not independent."""
    p = draw.standard_normal((N, D))
    scale = np.exp(0.4 * p[:, :1])
    return [p + scale * draw.standard_normal((N, D)) for _ in range(3)]


TESTS = {
    "symmetry": lambda w: proposition.symmetry(*w[:2], draws=99),
    "equality": lambda w: proposition.equality(w, draws=99),
    "definiteness": proposition.definiteness,
    "size": lambda w: proposition.third_client(w, draws=99, seeds=10)[0],
    "distance": lambda w: proposition.third_client(w, draws=39, seeds=150)[1],
}


def rejected(name, make, simulations):
    draw = np.random.default_rng(1)
    return np.mean([TESTS[name](make(draw)).p_value <= 0.05 for _ in range(simulations)])


@pytest.mark.parametrize("name", TESTS)
def test_the_additive_model_is_rejected_as_seldom_as_it_should(name):
    """150 simulations of each."""
    assert rejected(name, additive, 150) <= 0.12  # 5 %, and three standard errors and a half


def test_definiteness_keeps_its_size_where_nothing_is_shared():
    assert rejected("definiteness", nothing_shared, 150) <= 0.12


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("symmetry", turned),
        ("equality", unequal),
        ("definiteness", opposed),
        ("size", noisier_with_the_shared),
        ("distance", noisier_with_the_shared),
    ],
)
def test_what_breaks_the_model_is_found(name, make):
    assert rejected(name, make, 10) >= 0.9


def test_statistics_by_hand():
    x = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    y = x @ [[0, 1], [0, 0]]  # Cov = [[0, 1/2], [0, 0]]: half symmetric, half not
    assert proposition.symmetry(x, y).statistic == pytest.approx(0.5)
    assert proposition.symmetry(x, x).statistic == 0
    assert proposition.equality([x, x, x]).statistic == 0
    draw = np.random.default_rng(2)
    w = draw.standard_normal((4000, 3))
    assert proposition.definiteness([w, -w]).statistic == pytest.approx(-1)
    assert proposition.definiteness([w, -w]).p_value < 1e-6
    assert proposition.definiteness([w, w]).p_value > 0.5


def test_the_squared_distance_is_separation_and_both_noises():
    w = additive(np.random.default_rng(3), 20_000)
    w[1] = w[1] + np.arange(D) / 10
    found = proposition.decompose(*w[:2])
    assert found.squared_distance == pytest.approx(((w[0] - w[1]) ** 2).sum(axis=1).mean())
    parts = found.separation + found.own_x + found.own_y
    assert found.squared_distance == pytest.approx(parts)
    assert found.shared == pytest.approx((MIX**2).sum(), rel=0.05)
    assert found.own_x == pytest.approx(D, rel=0.05)
    assert found.own_y == pytest.approx(D * 0.49 * 8 / 6, rel=0.05)
    assert found.separation == pytest.approx((np.arange(D) ** 2 / 100).sum(), rel=0.02)


def test_mi_and_distance_can_rise_together_in_the_additive_model():
    """The paper's proof holds the variance of P fixed; here it grows, faster than the noise."""
    draw, d, n = np.random.default_rng(4), 394, 4000
    read = []
    for shared, noise in ((0.1, 1.0), (0.4, 1.2)):
        p = shared * draw.standard_normal((n, d))
        x, y = (p + noise * draw.standard_normal((n, d)) for _ in range(2))
        truth = -d / 2 * np.log2(1 - (shared**2 / (shared**2 + noise**2)) ** 2)
        e = gaussian(x, y)
        assert e.interval[0] < truth < e.interval[1]
        read.append((truth, e.bits, np.linalg.norm(x - y, axis=1).mean()))
    assert all(after > before for before, after in zip(*read, strict=True))


def test_impossible_clients_are_refused():
    x = np.random.default_rng(5).standard_normal((50, 3))
    with pytest.raises(ValueError, match="2 clients; this compares three"):
        proposition.equality([x, x])
    with pytest.raises(ValueError, match="3, 2 components"):
        proposition.symmetry(x, x[:, :2])
    with pytest.raises(ValueError, match="clients.1."):
        proposition.third_client([x, x * np.nan, x])
