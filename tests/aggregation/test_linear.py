import jax.numpy as jnp
import numpy as np
import pytest

from fedmi.aggregation.linear import KINDS, fit

pytestmark = pytest.mark.usefixtures("quickly_compiled")

N, Q, T = 600, 3, 6
DRAW = np.random.default_rng(0)
DOWNLOAD = DRAW.standard_normal(T)


def samples(rule, noise=0.01):
    updates = DRAW.standard_normal((N, Q, T)) * np.linspace(1, 3, T)
    target = DOWNLOAD + 0.3 + rule(updates) + noise * DRAW.standard_normal((N, T))
    return DOWNLOAD + updates, target


RULES = {
    "scalar": lambda u: np.einsum("q,nqt->nt", [0.2, 0.9, -0.4], u),
    "coordinate": lambda u: np.einsum("qt,nqt->nt", np.arange(Q * T).reshape(Q, T) / 9, u),
    "reduced-rank": lambda u: u.mean(axis=1) @ np.outer(np.arange(T), np.ones(T)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_of_its_kind_is_found_and_holds_on_other_seeds(kind):
    w, target = samples(RULES[kind])
    rule = fit(w[:300], target[:300], DOWNLOAD, kind=kind, offset=True)
    error = rule(w[300:], DOWNLOAD) - target[300:]
    assert np.sqrt((error**2).mean()) < 0.012
    assert rule.rank == (1 if kind == "reduced-rank" else 0)
    mean = w[300:].mean(axis=1) - target[300:]
    assert (mean**2).mean() > 100 * (error**2).mean()


def test_least_squares_by_another_solver():
    w, target = samples(RULES["scalar"], noise=1.0)
    rule = fit(w, target, DOWNLOAD, kind="scalar", offset=True)
    updates = w - w.mean(axis=0)
    design = updates.transpose(0, 2, 1).reshape(-1, Q)
    expected = np.linalg.lstsq(design, (target - target.mean(axis=0)).ravel(), rcond=None)[0]
    np.testing.assert_allclose(rule.weights, expected, rtol=5e-3)
    weights = fit(w, target, DOWNLOAD, kind="coordinate", offset=True).weights
    for k in range(T):
        one = np.linalg.lstsq(updates[:, :, k], target[:, k] - target[:, k].mean(), rcond=None)[0]
        np.testing.assert_allclose(weights[:, k], one, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_without_any_relation_nothing_is_learnt(kind):
    w = samples(RULES["scalar"])[0]
    target = DOWNLOAD + DRAW.standard_normal((N, T))
    rule = fit(w[:300], target[:300], DOWNLOAD, kind=kind, offset=True)
    error = ((rule(w[300:], DOWNLOAD) - target[300:]) ** 2).mean()
    assert error < 1.05 * target[300:].var(axis=0).mean()


def test_a_download_of_each_seed_s_own():
    w, target = samples(RULES["coordinate"])
    moves = DRAW.standard_normal((N, T))
    rule = fit(w + moves[:, None], target + moves, DOWNLOAD + moves, kind="coordinate", offset=True)
    same = fit(w, target, DOWNLOAD, kind="coordinate", offset=True)
    np.testing.assert_allclose(rule.weights, same.weights, atol=1e-9)
    np.testing.assert_allclose(
        rule(w + moves[:, None], DOWNLOAD + moves), same(w, DOWNLOAD) + moves, atol=1e-8
    )


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_count_as_what_they_are_whatever_their_type(kind):
    draw = np.random.default_rng(1)
    w, download = draw.integers(0, 9, (40, Q, T), "uint8"), draw.integers(0, 9, T, "uint8")
    target = w.max(axis=1)
    found = fit(w, target, download, kind=kind)
    plain = fit(*(a.astype(float) for a in (w, target, download)), kind=kind)
    np.testing.assert_array_equal(found(w, download), plain(w.astype(float), download))
    np.testing.assert_allclose(
        found(jnp.asarray(w), jnp.asarray(download)), found(w, download), rtol=1e-4, atol=1e-4
    )
    if kind == "scalar":
        assert (found.weights > 0.1).all()  # of differences that are not cut at zero


@pytest.mark.parametrize("kind", KINDS)
def test_clients_that_did_not_move_stay_where_they_are(kind):
    w = np.tile(DOWNLOAD, (20, Q, 1))
    rule = fit(w, w[:, 0], DOWNLOAD, kind=kind)
    np.testing.assert_array_equal(rule(w, DOWNLOAD), w[:, 0])


def test_impossible_arguments_are_refused():
    w, target = samples(RULES["scalar"])
    with pytest.raises(ValueError, match="kind 'best' is not one of scalar"):
        fit(w, target, DOWNLOAD, kind="best")
    with pytest.raises(ValueError, match="they must be .seeds, clients, parameters."):
        fit(w, target[:5], DOWNLOAD, kind="scalar", offset=True)
    with pytest.raises(ValueError, match="7 seeds are too few"):
        fit(w[:7], target[:7], DOWNLOAD, kind="scalar", offset=True)
    with pytest.raises(ValueError, match=r"download: shape \(1,\); it must be"):
        fit(w, target, DOWNLOAD[:1], kind="scalar")
    for shares in ([1, 1, 1], [0.5, 0.5], [2, -0.5, -0.5], [np.nan, 0.5, 0.5]):
        with pytest.raises(
            ValueError, match="shares: .*(are no shares n_q / n|must be one a client)"
        ):
            fit(w, target, DOWNLOAD, kind="scalar", shares=shares)
    for name, values in (
        ("clients", np.ma.masked_greater(w, 1)),
        ("target", target + 0j),
        ("download", DOWNLOAD.astype(str)),
    ):
        arrays = dict(clients=w, target=target, download=DOWNLOAD) | {name: values}
        with pytest.raises(ValueError, match=f"^{name}: "):
            fit(**arrays, kind="scalar")
    w[3, 1, 2] = np.nan
    with pytest.raises(ValueError, match="clients: not finite"):
        fit(w, target, DOWNLOAD, kind="scalar", offset=True)
