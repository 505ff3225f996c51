"""figures/scaling.md: how the time of every stage grew, out of figures/scaling.csv.

Times are shown as ratios between sizes that were measured. No law is fitted: on one machine, a few
repetitions a size, exponents came out that contradict what is known of the work.
"""

import pandas as pd

from benchmarks.output import render

FACTORS = ["n", "t", "q", "k", "m", "devices"]
RATES = ("float32 product", "copying")
"""Stages that tell the machine's rates, and are none of a study."""

COMPILED = ("sampling", "sampling, digits", "KSG MI", "judging aggregators")
CLIENTS, CHECKPOINTS, SEEDS = 3, 6, 20_000
"""Of the study for which memory and disk are reckoned."""

MODELS = (850, 10_000, 61_706, 1_000_000)


def page(table: pd.DataFrame) -> str:
    """The page, every number out of the table, or reckoned from sizes alone.

    Args:
        table: the rows of `benchmarks.scaling.measure`.
    """
    product, copying = (table[table.stage == name].iloc[0] for name in RATES)
    of_study = table[~table.stage.isin(RATES)].groupby("stage", sort=False)
    compiling = table[table.stage.isin(COMPILED)].groupby("stage", sort=False)
    written = table[table.stage == "writing"]
    numbers = written.n * written.q * written.k * written.t
    return render(
        "scaling",
        machine=table.machine.iloc[0],
        date=table.taken.iloc[0][:10],
        commits=[commit[:10] for commit in table.commit.dropna().unique()],
        flops=2 * product.n**2 * product.t / product.seconds,
        copied=2 * 4 * copying.n * copying.t / copying.seconds,
        growth=[(rows.iloc[0], [grown(rows, name) for name in FACTORS]) for _, rows in of_study],
        largest=[
            rows.loc[rows[["n", "t", "q", "k"]].prod(axis=1).idxmax()] for _, rows in of_study
        ],
        compiling=compiling.compile_seconds.max().to_dict(),
        left=(written.stored_bytes / (4 * numbers)).median(),
        models=[
            dict(
                t=t,
                seeds=2 * t + 1,
                covariance=(2 * t) ** 2 * 8,
                store=SEEDS * CLIENTS * CHECKPOINTS * t * 4,
            )
            for t in MODELS
        ],
        factors=FACTORS,
        clients=CLIENTS,
        checkpoints=CHECKPOINTS,
        seeds=SEEDS,
    )


def grown(rows: pd.DataFrame, factor: str) -> tuple[int, int, float] | None:
    """A factor's smallest and largest value, all others as in the first row, and the times' ratio.

    Args:
        rows: of one stage.
        factor: out of `FACTORS`.

    Returns:
        None where the factor did not vary by itself.
    """
    others = [name for name in FACTORS if name != factor]
    alone = rows[(rows[others] == rows.iloc[0][others]).all(axis=1)].sort_values(factor)
    low, high = alone.iloc[0], alone.iloc[-1]
    if low[factor] == high[factor]:
        return None
    return low[factor], high[factor], high.seconds / low.seconds
