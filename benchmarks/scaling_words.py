"""figures/scaling.md: how the time of every stage grew, out of figures/scaling.csv, and no further.

Times are shown as ratios between sizes that were measured. No law is fitted: on one machine, a few
repetitions a size, exponents came out that contradict what is known of the work.
"""

import pandas as pd

from benchmarks.table import significant

FACTORS = {
    "n": "N", "t": "t", "q": "Q", "k": "K", "m": "re-pairings", "devices": "devices",
}  # fmt: skip
CLIENTS, CHECKPOINTS, SEEDS = 3, 6, 20_000
"""Of the study for which memory and disk are reckoned."""

MODELS = (850, 10_000, 61_706, 1_000_000)
RATES = ("float32 product", "copying")
"""Stages that tell the machine's rates, and are none of a study."""


def page(table: pd.DataFrame) -> str:
    """The page, every number out of the table, or reckoned from sizes alone.

    Args:
        table: the rows of `benchmarks.scaling.measure`.
    """
    first = table.iloc[0]
    commits = [commit[:10] for commit in table.commit.dropna().unique()]
    commit = f", commit {' and '.join(commits)}" if commits else ""
    product, copying = (table[table.stage == name].iloc[0] for name in RATES)
    flops = 2 * product.n**2 * product.t / product.seconds
    rate = 2 * copying.n * copying.t * 4 / copying.seconds
    return "\n".join(
        [
            "# The map of cost",
            "",
            f"Measured on {first.machine} ({first.taken[:10]}{commit}), each size in a process "
            "pinned to as many cores as JAX had devices, the least of its repetitions after the "
            f"first, which compiles. The machine multiplied float32 matrices at "
            f"{flops / 1e9:.0f} GFLOP/s and copied {_bytes(rate)}/s. `make scaling` measures and "
            "writes this page, `python -m benchmarks.scaling --words` the page alone.",
            "",
            "## How time grew",
            "",
            "N seeds, t parameters a client, Q clients, K checkpoints; estimates are of all pairs "
            "at one checkpoint. In each column one factor goes from its smallest to its largest "
            "value, all others staying as they are in the second column, and the time becomes so "
            "many times what it was. What lies between and beyond is not told: every size is in "
            "[scaling.csv](scaling.csv).",
            "",
            *_growth(table),
            "",
            "## The largest sizes",
            "",
            *_largest(table),
            "",
            "Compiling comes on top, once a shape: first calls took up to "
            f"{_compiling(table)} longer.",
            "",
            "## What breaks first",
            "",
            f"Reckoned, not measured, for Q = {CLIENTS}, K = {CHECKPOINTS} and N = {SEEDS:,}: the "
            "covariance is that of two clients, (2t)² numbers of float64, and of full rank only "
            "for N > 2t; the store holds N Q K t numbers of float32 (where it was measured, "
            f"compression left {100 * _left(table):.0f} % of the bytes).",
            "",
            *_breaks(),
            "",
            "What to do then:",
            "",
            "- **rank, covariance**: estimate by layer, or after a random or canonical projection "
            "fitted on other seeds (`fedmi.mi.reduce`) to a dimension below N / 2, and say so; "
            "shrinkage works below that but reads too little.",
            "- **KSG**: project likewise, for in so many dimensions its neighbours see little "
            "anyway; take a subsample of seeds; fewer checkpoints or re-pairings.",
            "- **store**: keep fewer checkpoints or the layers that are asked about; distances and "
            "aggregation need a tile at a time.",
            "- **sampling**: blocks of seeds are jobs of their own, on as many machines.",
            "",
        ]
    )


def _growth(table: pd.DataFrame) -> list[str]:
    lines = [
        f"| stage | at N, t, Q, K, re-pairings, devices | takes | {' | '.join(FACTORS.values())} |",
        "|---|---|---|" + "---|" * len(FACTORS),
    ]
    for stage, rows in _stages(table):
        middle = rows.iloc[0]
        cells = [_grown(rows, middle, factor) for factor in FACTORS]
        lines.append(
            f"| {stage} | {_size(middle)} | {significant(middle.seconds)} s | {' | '.join(cells)} |"
        )
    return lines


def _grown(rows: pd.DataFrame, middle: pd.Series, factor: str) -> str:
    """What became of the time as one factor grew, all others staying as in the middle."""
    others = [name for name in FACTORS if name != factor]
    alone = rows[(rows[others] == middle[others]).all(axis=1)].sort_values(factor)
    low, high = alone.iloc[0], alone.iloc[-1]
    if low[factor] == high[factor]:
        return ""
    ratio = significant(high.seconds / low.seconds)
    return f"{low[factor]:,} to {high[factor]:,}: {ratio} times"


def _largest(table: pd.DataFrame) -> list[str]:
    lines = [
        "| stage | N, t, Q, K, re-pairings, devices | time | peak memory of the process |",
        "|---|---|---|---|",
    ]
    for stage, rows in _stages(table):
        work = rows[["n", "t", "q", "k"]].prod(axis=1)
        row = rows.loc[work.idxmax()]
        memory = _bytes(row.peak_mib * 2**20)
        lines.append(f"| {stage} | {_size(row)} | {significant(row.seconds)} s | {memory} |")
    return lines


def _stages(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    of_study = table[~table.stage.isin(RATES)]
    return list(of_study.groupby("stage", sort=False))


def _size(row: pd.Series) -> str:
    return ", ".join(f"{row[factor]:,}" for factor in FACTORS)


def _breaks() -> list[str]:
    lines = [
        "| t | seeds that the Gaussian formula needs | covariance | store |",
        "|---|---|---|---|",
    ]
    for t in MODELS:
        stored = SEEDS * CLIENTS * CHECKPOINTS * t * 4
        lines.append(f"| {t:,} | {2 * t + 1:,} | {_bytes((2 * t) ** 2 * 8)} | {_bytes(stored)} |")
    return lines


def _left(table: pd.DataFrame) -> float:
    """What compression left of N Q K t numbers of float32, at the middle of what was measured."""
    of = table[table.stage == "writing"]
    return float((of.stored_bytes / (of.n * of.q * of.k * of.t * 4)).median())


def _compiling(table: pd.DataFrame) -> str:
    stages = ("sampling", "sampling, digits", "KSG MI", "judging aggregators")
    longer = table[table.stage.isin(stages)].groupby("stage", sort=False).compile_seconds.max()
    return ", ".join(f"{significant(value, 2)} s ({name})" for name, value in longer.items())


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if count < 1000 or unit == "PB":
            return f"{significant(count, 2)} {unit}"
        count /= 1000
    raise AssertionError
