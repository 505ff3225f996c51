"""`make coverage-at-size`: do intervals hold the truth at the studies' own N and d?

Draws data sets from laws whose MI is known, as large as the samples of the studies and with their
covariances, reads them as the studies are read, and counts. As many as fit into an hour; what is
read is kept, so that the same command goes on. Writes figures/coverage-at-size.csv, the figure and
the page. The studies must have been sampled (`make study SCALE=paper`).
"""

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from benchmarks.output import FIGURES, STARTED, say
from fedmi import mi
from fedmi.mi.null import repairing
from fedmi.mi.trust import laws
from fedmi.mi.trust.surrogates import Surrogates, surrogates
from fedmi.sampling import provenance
from fedmi.study import coverage, figures, pages, params, publish, results

REPAIRINGS = 20
SIZES = {
    "signal, quick": ("signal", 1_000),
    "digits, quick": ("digits", 2_000),
    "signal": ("signal", 22_000),
    "digits": ("digits", 26_400),
}
"""Of which study the samples are, and how many of them."""
BITS = {"signal": 11.7, "digits": 25.2}
"""What the studies read at the end."""
DF = 5.0
LAWS = ("normal, concentrated", "normal, dense", "normal, ten pairs", "Student, df = 5")
PROMISED = LAWS[:3]
PAIRS = 10


@dataclass(frozen=True)
class Case:
    """Data sets of one size and law."""

    size: str
    law: str

    @property
    def name(self) -> str:
        """Of the folder that keeps what is read."""
        return f"{self.size}-{self.law}".replace(", ", "-").replace(" = ", "-").replace(" ", "-")


CASES = [Case(size, law) for size in SIZES for law in LAWS]


@cache
def like(size: str, run: Path) -> Surrogates:
    """Normal laws with the covariances of a study's clients 0 and 1 at the end."""
    study, n = SIZES[size]
    path = params.find(f"params/{run.name}/{study}.yaml")
    samples = results.samples_of(run / study, str(path)).isel(seed=slice(n), iteration=-1)
    x, y = (samples.theta.isel(client=q).values for q in (0, 1))
    return surrogates(x, y, repairing(len(x), REPAIRINGS, jax.random.key(0)))


def draw(case: Case, run: Path, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """A data set (N, d), (N, d), float32 as samples are."""
    of, bits = like(case.size, run), BITS[SIZES[case.size][0]]
    x_key, y_key, scale_key = jax.random.split(key, 3)
    if case.law == "normal, ten pairs":
        d = of.colour_x.shape[1]
        pairs = np.full(PAIRS, laws.correlation(bits / PAIRS))
        x, y = (laws.normals(of_side, (of.n, d)) for of_side in (x_key, y_key))
        y[:, :PAIRS] = pairs * x[:, :PAIRS] + np.sqrt(1 - pairs**2) * y[:, :PAIRS]
        return x.astype(np.float32), y.astype(np.float32)
    family = "dense" if case.law == "normal, dense" else "concentrated"
    variates = of.draw_x(x_key)
    x, y = variates @ of.colour_x, of.draw_y(y_key, family, bits, variates) @ of.colour_y
    if case.law == "Student, df = 5":
        chi2 = np.random.default_rng(np.asarray(jax.random.key_data(scale_key))).chisquare(DF, of.n)
        grow = np.sqrt(DF / chi2)[:, None]
        x, y = x * grow, y * grow
    return x.astype(np.float32), y.astype(np.float32)


def true_bits(case: Case, run: Path) -> float:
    """The MI of a case's law."""
    of, bits = like(case.size, run), BITS[SIZES[case.size][0]]
    if case.law in PROMISED:
        return bits
    p, q = len(of.colour_x), len(of.colour_y)
    # What the common scale adds does not depend on the correlations.
    return bits + laws.StudentT(np.eye(p + q), p, DF).mi_bits


def read(case: Case, run: Path, i: int) -> tuple[float, float]:
    """The estimate of data set i, and half its interval."""
    key = jax.random.fold_in(jax.random.key(2), 1000 * CASES.index(case) + i)
    x, y = draw(case, run, key)
    (pair,) = mi.pairwise([x, y], estimator="gaussian", permutations=REPAIRINGS, key=key)
    low, high = pair.estimate.interval
    return pair.estimate.bits, (high - low) / 2


def kept(case: Case, run: Path, i: int) -> tuple[Case, float, float]:
    """The same, read once."""
    path = run / "coverage" / case.name / f"{i}.json"
    bits, half = results.kept(path, dict(repairings=REPAIRINGS), lambda: read(case, run, i))
    return case, bits, half


def table(found: dict[Case, list[tuple[float, float]]], run: Path) -> pd.DataFrame:
    """The rows of all cases, with `fedmi.study.coverage.COLUMNS`."""
    rows = []
    for case, values in found.items():
        study, n = SIZES[case.size]
        bits, half = np.array(values).T
        where = dict(study=case.size, n=n, d=like(case.size, run).colour_x.shape[1])
        where |= dict(law=case.law, promised=case.law in PROMISED)
        rows += [where | row for row in coverage.rows(bits, half, true_bits(case, run))]
    return pd.DataFrame(rows, columns=coverage.COLUMNS)


def sets(most: int | None) -> Iterator[tuple[Case, int]]:
    """Data set after data set, of every case as many."""
    return ((case, i) for i in islice(count(), most) for case in CASES)


def main() -> None:
    """Reads, counts, and publishes."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coverage_at_size", description=__doc__
    )
    parser.add_argument("--minutes", type=float, default=60, help="after which no set is begun")
    parser.add_argument("--sets", type=int, help="of each law and size at most")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--results", type=Path, default=Path("results", "paper"))
    given = parser.parse_args()
    run = given.results.resolve()
    found: dict[Case, list[tuple[float, float]]] = {case: [] for case in CASES}
    todo = sets(given.sets)
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        # As many are given out as are done at once, so that the time can end them.
        while time.monotonic() - STARTED < 60 * given.minutes:
            batch = list(islice(todo, len(CASES)))
            if not batch:
                break
            done = [pool.submit(kept, case, run, i) for case, i in batch]
            for case, bits, half in (each.result() for each in done):
                found[case].append((bits, half))
            say(f"{len(found[CASES[0]])} sets of each law")
    counted = table(found, run)
    caption = figures.caption(run.name, counted.n)
    drawing = publish.Drawing(
        "coverage",
        "coverage-at-size",
        figures.coverage(counted, caption),
        {"": "coverage-at-size.csv"},
        caption,
        pages.render("coverage", coverage.facts(counted)),
    )
    made = provenance.made(None, time.monotonic() - STARTED)
    made |= dict(parts=results.codes(run / "coverage"))
    publish.add(FIGURES, drawing, {"": counted}, made)
    print(drawing.page)


if __name__ == "__main__":
    main()
