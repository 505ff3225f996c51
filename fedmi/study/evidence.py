"""What a study says of Proposition 1: the tests' tables, and what they come to in plain words.

A study makes many tests, and one in twenty rejects by chance; a verdict therefore rests on p-values
adjusted for all of the study's tests together (Holm).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fedmi import stats
from fedmi.stats import sign
from fedmi.study import additive, proposition

LEVEL = 0.05
TEST_COLUMNS = [
    "task", "coupling", "iteration", "test", "n", "statistic", "expected", "p_value", "p_holm",
    "by_construction", "verdict",
]  # fmt: skip
NOISE_COLUMNS = [
    "task", "coupling", "iteration", "n", "variation", "low", "high", "squared_variation",
    "squared_error",
]  # fmt: skip
DECOMPOSITION_COLUMNS = [
    "task", "coupling", "pair", "iteration", "n", "shared", "own_x", "own_y", "separation",
    "squared_distance", "shared_se", "own_x_se", "own_y_se", "separation_se",
    "squared_distance_se",
]  # fmt: skip

CLAIMS = {
    "symmetry": "the covariance of two clients is symmetric",
    "equality": "all pairs of clients have the same covariance",
    "definiteness": "it is negative in no direction",
    "third client, size": "how long one client is says nothing of how far two others are apart",
    "third client, distance correlation": "the difference of two is independent of a third",
    "noise on the shared part": "what two have in common says nothing of how far others are apart",
    "noises on each other": "how far two are apart says nothing of how far two others are",
}
"""What the additive model says, by test."""

OF_COVARIANCES = ("symmetry", "equality", "definiteness")
NO_EVIDENCE = "no evidence: holds by construction"
AMISS = "rejected, though it holds by construction: by chance, or the test errs"


def checkpoints_of(iterations: Sequence[int]) -> list[int]:
    """The first, a middle and the last checkpoint, each once, ascending.

    Raises:
        ValueError: no checkpoints.
    """
    if not len(iterations):
        raise ValueError("iterations: none are given")
    return sorted({int(iterations[i]) for i in (0, len(iterations) // 2, -1)})


def by_construction(test: str, attrs: Mapping[str, Any]) -> bool:
    """Whether a test cannot fail, whatever clients do, and so is no evidence.

    Clients that share nothing are independent, and any additive model with a constant P fits.
    Clients whose streams all have one law, and who have equally much data, are independent and
    identically distributed given what they share, which makes their covariances one. From the
    second round on clients share their download.

    Args:
        test: the test's name.
        attrs: of the samples, `scopes` among them.
    """
    scopes = attrs["scopes"].values()
    if "shared" not in scopes and attrs["rounds"] == 1:
        return True
    alike = "client" not in scopes and len(set(attrs["client_examples"])) == 1
    return test in OF_COVARIANCES and alike


def test_rows(samples: xr.Dataset, iteration: int) -> list[dict]:
    """The tests of two, and where there are so many, three clients at one checkpoint.

    Args:
        samples: finite samples (`fedmi.finite`).
        iteration: the checkpoint.

    Returns:
        The columns of `TEST_COLUMNS` but `p_holm` and `verdict` (see `with_verdicts`).
    """
    clients = _clients(samples, iteration)[:3]
    tests = [proposition.symmetry(*clients[:2])]
    if len(clients) == 3:
        tests.append(proposition.equality(clients))
    tests.append(proposition.definiteness(clients))
    if len(clients) == 3:
        tests += proposition.third_client(clients)
    return [_row(samples, iteration, test) for test in tests]


test_rows.__test__ = False  # not one of pytest's


def noise_rows(samples: xr.Dataset, iteration: int) -> tuple[list[dict], dict]:
    """The tests of four clients' noises at one checkpoint, and how much its variance varies.

    Args:
        samples: finite samples of four clients or more.
        iteration: the checkpoint.

    Returns:
        Rows as those of `test_rows`, and a row of `NOISE_COLUMNS`.

    Raises:
        ValueError: fewer than four clients.
    """
    found = proposition.noise_dependence(_clients(samples, iteration)[:4])
    low, high = found.interval
    variation = dict(
        _study(samples, iteration),
        variation=found.variation,
        low=low,
        high=high,
        squared_variation=found.squared_variation,
        squared_error=found.squared_error,
    )
    tests = (found.on_shared, found.on_each_other)
    return [_row(samples, iteration, test) for test in tests], variation


def decomposition_rows(samples: xr.Dataset, iteration: int) -> list[dict]:
    """What every pair of clients shares at one checkpoint: rows of `DECOMPOSITION_COLUMNS`.

    Args:
        samples: finite samples.
        iteration: the checkpoint.
    """
    clients = _clients(samples, iteration)
    return [
        _study(samples, iteration)
        | dict(pair=f"{a}-{b}")
        | asdict(additive.decompose(clients[a], clients[b]))
        for a, b in combinations(range(len(clients)), 2)
    ]


def with_verdicts(rows: list[dict]) -> list[dict]:
    """The rows of `test_rows` and `noise_rows`, all of a study, with `p_holm` and `verdict`."""
    adjusted = stats.holm([row["p_value"] for row in rows])
    return [
        row | dict(p_holm=p, verdict=_verdict(p, row["by_construction"]))
        for row, p in zip(rows, adjusted, strict=True)
    ]


def _verdict(p_holm: float, constructed: bool) -> str:
    if constructed:
        return AMISS if p_holm <= LEVEL else NO_EVIDENCE
    return "rejected" if p_holm <= LEVEL else "not rejected"


def _row(samples: xr.Dataset, iteration: int, test: proposition.Test) -> dict:
    return _study(samples, iteration) | dict(
        test=test.name,
        statistic=test.statistic,
        expected=test.expected,
        p_value=test.p_value,
        by_construction=by_construction(test.name, samples.attrs),
    )


def _clients(samples: xr.Dataset, iteration: int) -> list[np.ndarray]:
    """(N, t) for each client."""
    theta = samples.theta.sel(iteration=iteration)
    return [theta.sel(client=client).values for client in samples.client.values]


def _study(samples: xr.Dataset, iteration: int) -> dict:
    attrs = samples.attrs
    return dict(
        task=attrs["task"],
        coupling=attrs["coupling"],
        iteration=int(iteration),
        n=samples.sizes["seed"],
    )


def words(tests: pd.DataFrame, noise: pd.DataFrame, decomposition: pd.DataFrame) -> str:
    """The evidence in plain words, as Markdown, every number out of the tables.

    Args:
        tests: rows of `with_verdicts`, of one study.
        noise: rows of `noise_rows`.
        decomposition: rows of `decomposition_rows`.
    """
    seeds = " and ".join(f"{n}" for n in tests.n.unique())
    lines = [
        "The additive model (one thing that all clients have in common, plus noise that is "
        "independent of it and from client to client) says what stands below. It is put to "
        f"{len(tests)} tests, on {seeds} seeds; p is adjusted for all of them (Holm), so that the "
        f"chance of any false rejection is at most {100 * LEVEL:g} %.",
        "",
        "| the additive model says (test) | p by iteration | verdict |",
        "|---|---|---|",
    ]
    for name, rows in tests.groupby("test", sort=False):
        by_iteration = "; ".join(f"{r.iteration}: {_p(r.p_holm)}" for r in rows.itertuples())
        lines.append(f"| {CLAIMS[name]} ({name}) | {by_iteration} | {_together(rows)} |")
    return (
        "\n".join([*lines, "", _proposition(tests), _varies(tests, noise), _parts(decomposition)])
        + "\n"
    )


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else f"{value:.0e}"


def _together(rows: pd.DataFrame) -> str:
    """One verdict for a test at all checkpoints."""
    parts = [
        said if said == NO_EVIDENCE or len(which) == len(rows)
        else f"{said} at {', '.join(map(str, which.iteration))}"
        for said, which in rows.groupby("verdict", sort=False)
    ]  # fmt: skip
    return "; ".join(parts)


def _proposition(tests: pd.DataFrame) -> str:
    open_ones = tests[~tests.by_construction.astype(bool)]
    if open_ones.empty:
        return (
            "- The clients share nothing that changes from seed to seed: they are independent, and "
            "the additive model fits them by construction, with a constant in common."
        )
    rejecting = list(open_ones[open_ones.verdict == "rejected"].test.unique())
    if not rejecting:
        return (
            "- The additive model is not rejected: with so many seeds, no sign is seen that the "
            "noise depends on what is shared, or the noises on each other."
        )
    if set(rejecting) & set(OF_COVARIANCES):
        return (
            "- The additive model is rejected, and not by the noise's law alone: already the "
            f"covariances of clients are not one ({', '.join(rejecting)})."
        )
    text = (
        "- The additive model with *independent* noise is rejected: how the noise is distributed "
        f"depends on what is shared ({', '.join(rejecting)}). "
    )
    if set(open_ones.test) & set(OF_COVARIANCES):
        return text + "The covariances of clients do not reject it."
    return text + (
        "It is uncorrelated with what is shared all the same, as it always is for clients of one "
        "law: this is no evidence against averaging."
    )


def alike(tests: pd.DataFrame) -> bool:
    """Whether a study's clients are alike given what they share: its covariances are then one."""
    return bool(tests.by_construction[tests.test.isin(OF_COVARIANCES)].all())


def _varies(tests: pd.DataFrame, noise: pd.DataFrame) -> str:
    told = "; ".join(
        f"{row.iteration}: {row.variation:.1%} ({row.low:.1%} to {row.high:.1%})".replace("%", " %")
        for row in noise.itertuples()
    )
    what = "noise's variance" if alike(tests) else "squared distance of two clients"
    return (
        f"- By how much the {what}, given what is shared, typically differs from its mean "
        f"(coefficient of variation with 95 % interval; 0 in the additive model): {told}."
    )


def _parts(decomposition: pd.DataFrame) -> str:
    """What becomes of the shared and the own variance, means over pairs, first against last."""
    means = means_of(decomposition)
    first, last = means.iloc[0], means.iloc[-1]

    def moved(name: str) -> str:
        return (
            f"{first[name]:.3g} ± {1.96 * first[name + '_se']:.1g} to "
            f"{last[name]:.3g} ± {1.96 * last[name + '_se']:.1g}"
        )

    def course(name: str) -> str:
        error = np.hypot(first[name + "_se"], last[name + "_se"])
        said = {"yes": "grows", "no": "shrinks", "open": "may grow or shrink"}
        return said[sign(last[name] - first[name], error)]

    text = (
        f"- From iteration {means.index[0]} to {means.index[-1]} (means over pairs, ± 95 %): "
        f"shared variance {moved('shared')}, variance of a client's own {moved('own')}, squared "
        f"distance of the clients' means {moved('separation')}. "
    )
    peak = means.own.idxmax()
    if peak not in (means.index[0], means.index[-1]):
        text += f"The clients' own is largest at {peak} ({means.own[peak]:.3g}). "
    shared, own = course("shared"), course("own")
    if shared == own == "grows":
        return text + (
            "Both variances grow. What is shared growing raises mutual information, noise growing "
            "raises the distance: together they do what the paper holds to be a contradiction, as "
            "its proof keeps the variance of what is shared fixed."
        )
    return text + f"The noise {own}, what is shared {shared}."


def means_of(decomposition: pd.DataFrame) -> pd.DataFrame:
    """By iteration, means over pairs of shared, own and separation, with their errors.

    Errors are means over pairs too, as if the pairs, which share clients, erred alike.

    Args:
        decomposition: rows of `decomposition_rows`.
    """
    table = decomposition.assign(
        own=(decomposition.own_x + decomposition.own_y) / 2,
        own_se=(decomposition.own_x_se + decomposition.own_y_se) / 2,
    )
    names = [f"{name}{end}" for name in ("shared", "own", "separation") for end in ("", "_se")]
    return table.groupby("iteration")[names].mean()
