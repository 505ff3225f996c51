"""`make coverage`: do 95 % intervals hold the truth 95 % of the time, and are p-values uniform?

Draws many data sets from laws whose MI is known, and counts. Writes figures/coverage.csv.
"""

import argparse
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.counting import Each, share, spread
from benchmarks.output import publish, say
from fedmi import mi
from fedmi.mi.trust import laws
from fedmi.stats import Z95, mean_and_error

SUBSAMPLING = dict(parts=(2, 4, 8, 16), repeats=6)
REPAIRINGS = 99


@dataclass(frozen=True)
class Experiment:
    """Data sets of one law and size, and what is asked of one estimator on each.

    Attributes:
        name: the law in words.
        estimator: "gaussian" or "ksg".
        law: the law.
        n: seeds a data set.
        promised: whether the interval is promised to hold the truth on this law; where it is not,
            the bias is what is reported.
    """

    name: str
    estimator: str
    law: laws.Law
    n: int
    promised: bool = True


def _binormal(correlation: float) -> laws.Normal:
    return laws.Normal(laws.paired(np.array([correlation])), 1)


def _student(d: int, correlation: float, df: float) -> laws.StudentT:
    return laws.StudentT(laws.paired(np.full(d, correlation)), d, df)


ASINH_OF_STUDENT = laws.Mapped(_student(1, 0.5, 2.0), np.arcsinh, np.arcsinh)
EXPERIMENTS = (
    Experiment("binormal, r = 0.75", "gaussian", _binormal(0.75), 500),
    Experiment("dense, d = 10", "gaussian", laws.Normal(laws.dense(10, 2.0), 10), 500),
    Experiment("3 pairs of 20", "gaussian", laws.Normal(laws.sparse(20, 3, 4.0), 20), 1000),
    # d / N = 0.15
    Experiment("5 pairs of 60", "gaussian", laws.Normal(laws.sparse(60, 5, 6.0), 60), 400),
    Experiment("Student, df = 5, d = 10", "gaussian", _student(10, 0.3, 5.0), 500, False),
    Experiment("binormal, r = 0.75", "ksg", _binormal(0.75), 800),
    Experiment("binormal, r = 0.3", "ksg", _binormal(0.3), 800),
    Experiment("binormal, r = 0.9", "ksg", _binormal(0.9), 800),
    Experiment("independent, d = 3", "ksg", laws.Normal(laws.dense(3, 0.0), 3), 800),
    Experiment("asinh of Student, df = 2", "ksg", ASINH_OF_STUDENT, 800),
    # Where the density has edges, or in more dimensions, KSG's bias is as large as its spread.
    Experiment("uniform noise, 0.3", "ksg", laws.UniformNoise(0.3), 800, False),
    Experiment("dense, d = 3", "ksg", laws.Normal(laws.dense(3, 0.8), 3), 800, False),
    Experiment("5 pairs of 10", "ksg", laws.Normal(laws.sparse(10, 5, 4.0), 10), 800, False),
)


def read(experiment: Experiment, i: int) -> tuple[float, float, float]:
    """The estimate of data set i and its interval."""
    key = jax.random.fold_in(jax.random.key(0), i)
    x, y = experiment.law.sample(key, experiment.n)
    if experiment.estimator == "gaussian":
        e = mi.gaussian(x, y)
        return e.bits, *e.interval
    found = mi.subsample(x, y, key=key, **SUBSAMPLING)
    return found.bits, *found.interval


def p_value(estimator: str, n: int, i: int) -> float:
    """By re-pairing, of independent samples; made continuous at random within its steps."""
    key = jax.random.fold_in(jax.random.key(1), i)
    draw = np.random.default_rng([1, i])
    x, y = draw.standard_t(3, (2, n, 2))
    (pair,) = mi.pairwise([x, y], estimator=estimator, permutations=REPAIRINGS, key=key)
    return pair.p_value - draw.uniform() / (REPAIRINGS + 1)


def coverage(experiment: Experiment, sets: int, each: Each) -> dict:
    """The row of an experiment."""
    bits, low, high = np.array(list(each(partial(read, experiment), sets))).T
    truth = experiment.law.mi_bits
    bias, error = mean_and_error(bits - truth)
    return dict(
        kind="interval" if experiment.promised else "bias",
        law=experiment.name,
        estimator=experiment.estimator,
        n=experiment.n,
        sets=sets,
        true_bits=truth,
        mean_bits=bits.mean(),
        bias=bias,
        bias_error=Z95 * error,
        **share((low <= truth) & (truth <= high), "coverage"),
        mean_half_width=(high - low).mean() / 2,
        sd=bits.std(ddof=1),
    )


def uniformity(estimator: str, n: int, sets: int, each: Each) -> dict:
    """The row that says whether p-values by re-pairing are uniform without dependence."""
    values = np.array(list(each(partial(p_value, estimator, n), sets)))
    return dict(
        kind="p-values",
        law="independent Student, df = 3, d = 2",
        estimator=estimator,
        n=n,
        sets=sets,
        true_bits=0.0,
        coverage=float((values > 0.05).mean()),
        ks_p_value=stats.kstest(values, "uniform").pvalue,
    )


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--sets", type=int, default=2000, help="data sets of each law")
    parser.add_argument("--ksg-sets", type=int, default=200, help="likewise, of each read by KSG")
    parser.add_argument("--null-sets", type=int, default=500, help="data sets behind p-values")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args()
    rows = []
    with spread(given.workers, "data set") as each:
        for experiment in EXPERIMENTS:
            say(f"{experiment.estimator}: {experiment.name}")
            sets = given.ksg_sets if experiment.estimator == "ksg" else given.sets
            rows.append(coverage(experiment, sets, each))
        for estimator in ("gaussian", "gaussian_copula", "ksg"):
            say(f"{estimator}: p-values")
            rows.append(uniformity(estimator, 200, given.null_sets, each))
    publish(pd.DataFrame(rows), "coverage")


if __name__ == "__main__":
    main()
