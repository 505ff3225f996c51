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
from fedmi.stats import bonferroni_limit, sign
from fedmi.study import additive, proposition
from fedmi.study.sizes import FAILS, HOLDS, OPEN, VARIATION, any_of, told
from fedmi.study.tables import origin

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


def rows(samples: xr.Dataset, iteration: int) -> list[dict]:
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


def noise_rows(samples: xr.Dataset, iteration: int) -> tuple[list[dict], dict]:
    """The tests of four clients' noises at one checkpoint, and how much its variance varies.

    Args:
        samples: finite samples of four clients or more.
        iteration: the checkpoint.

    Returns:
        Rows as those of `rows`, and a row of `NOISE_COLUMNS`.

    Raises:
        ValueError: fewer than four clients.
    """
    found = proposition.noise_dependence(_clients(samples, iteration)[:4])
    low, high = found.interval
    variation = origin(samples) | dict(
        iteration=iteration,
        n=samples.sizes["seed"],
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
        origin(samples)
        | dict(iteration=iteration, pair=f"{a}-{b}", n=samples.sizes["seed"])
        | asdict(additive.decompose(clients[a], clients[b]))
        for a, b in combinations(range(len(clients)), 2)
    ]


def with_verdicts(rows: list[dict]) -> list[dict]:
    """The tests of a study, all together, with `p_holm` and `verdict`."""
    adjusted = stats.holm([row["p_value"] for row in rows])
    return [
        row | dict(p_holm=p, verdict=_verdict(p, row["by_construction"]))
        for row, p in zip(rows, adjusted, strict=True)
    ]


def _verdict(p_holm: float, constructed: bool) -> str:
    if constructed:
        return AMISS if p_holm <= LEVEL else NO_EVIDENCE
    return "rejected" if p_holm <= LEVEL else "not rejected"


def _row(samples: xr.Dataset, iteration: int, test: proposition.Outcome) -> dict:
    return origin(samples) | dict(
        iteration=iteration,
        n=samples.sizes["seed"],
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


def facts(tests: pd.DataFrame, noise: pd.DataFrame, decomposition: pd.DataFrame) -> dict:
    """What the page "proposition" says.

    Args:
        tests: rows of `with_verdicts`, of one study.
        noise: rows of `noise_rows`.
        decomposition: rows of `decomposition_rows`.
    """
    apart = spread(tests, decomposition)
    able = tests.loc[~tests.by_construction.astype(bool)]
    rejecting = able.test[able.verdict == "rejected"].unique().tolist()
    if able.empty:
        outcome = "constructed"
    elif not rejecting:
        outcome = "not rejected"
    else:
        outcome = "covariances" if set(rejecting) & set(OF_COVARIANCES) else "noise"
    return dict(
        count=len(tests),
        seeds=tests.n.unique().tolist(),
        level=LEVEL,
        tests={name: _of_test(rows) for name, rows in tests.groupby("test", sort=False)},
        outcome=outcome,
        rejecting=rejecting,
        covariances_tried=bool(able.test.isin(OF_COVARIANCES).any()),
        alike=alike(tests),
        noise=noise.to_dict("records"),
        spread=apart,
        departure=departure(noise, apart),
        size=VARIATION,
        parts=_parts(decomposition),
    )


def departure(noise: pd.DataFrame, apart: Mapping[str, float] | None) -> str:
    """Whether clients depart from the additive model by a size that matters, at the end.

    The tests ask whether there is a departure, this how large it is: in how much the noise varies
    with what is shared, or in how far what two clients share differs from pair to pair.

    Args:
        noise: rows of `noise_rows`.
        apart: what `spread` returns.
    """
    last = noise.iloc[-1]
    varies = HOLDS if last.low > VARIATION else FAILS if last.high < VARIATION else OPEN
    if apart is None:
        return varies
    return any_of(varies, told(apart["value"], apart["error"], VARIATION, apart["limit"]))


def spread(tests: pd.DataFrame, decomposition: pd.DataFrame) -> dict[str, float] | None:
    """From the least to the most that any two clients share at the end, relative to the mean.

    Args:
        tests, decomposition: as `facts` takes them.

    Returns:
        The value, its standard error, and how many of these are beyond chance for all pairs
        together; None where it is zero by construction.
    """
    if alike(tests):
        return None
    pairs = decomposition.loc[decomposition.iteration == decomposition.iteration.max()]
    pairs = pairs.sort_values("shared")
    ends, mean = pairs.iloc[[0, -1]], pairs.shared.abs().mean()
    value = (ends.shared.iloc[1] - ends.shared.iloc[0]) / mean
    error, limit = np.hypot(*ends.shared_se) / mean, bonferroni_limit(decomposition.pair.nunique())
    return dict(value=float(value), error=float(error), limit=limit)


def _of_test(rows: pd.DataFrame) -> dict:
    """A test's rows, and its verdicts with where they hold, [] for everywhere."""
    verdicts = {
        said: [] if len(of) == len(rows) or said == NO_EVIDENCE else of.iteration.to_list()
        for said, of in rows.groupby("verdict", sort=False)
    }
    return dict(rows=rows.to_dict("records"), verdicts=verdicts)


def alike(tests: pd.DataFrame) -> bool:
    """Whether a study's clients are alike given what they share: its covariances are then one."""
    return bool(tests.by_construction[tests.test.isin(OF_COVARIANCES)].all())


def _parts(decomposition: pd.DataFrame) -> dict:
    """What becomes of the shared and the own variance, means over pairs, first against last."""
    means = means_of(decomposition).reset_index()
    first, last = means.iloc[0], means.iloc[-1]
    peak = means.loc[means.own.idxmax()]
    return dict(
        first=first.to_dict(),
        last=last.to_dict(),
        peak=peak.to_dict() if first.iteration < peak.iteration < last.iteration else None,
        **{
            name: sign(last[name] - first[name], np.hypot(first[f"{name}_se"], last[f"{name}_se"]))
            for name in ("shared", "own")
        },
    )


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
    return pd.DataFrame(table.groupby("iteration")[names].mean())
