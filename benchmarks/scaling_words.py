"""figures/scaling.md: laws of cost fitted to figures/scaling.csv, and how far one gets by them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
import pandas as pd

from benchmarks.power_law import PowerLaw, Powers, fit
from benchmarks.table import significant

CLIENTS, CHECKPOINTS, REPAIRINGS = 3, 6, 20
"""Of a study like the paper's."""

PARAMETERS, SEEDS = 850, 20_000
"""The t at which the largest N is asked for, and the N at which the largest t is."""

TIMES = {"10 minutes": 600.0, "1 hour": 3600.0, "1 day": 86400.0}
MODELS = (850, 10_000, 61_706, 1_000_000)
DISK = 1e12

TOLERANCE = 0.3  # of a prediction
H100_FLOPS, H100_BANDWIDTH = 67e12, 3.35e12
"""float32 operations and bytes a second: NVIDIA's data sheet of the H100 SXM, peaks, no TF32."""

LARGEST = 10**10


@dataclass(frozen=True)
class Model:
    """What is fitted to a stage.

    Attributes:
        theory: factor with a fitted exponent -> the exponent expected.
        terms: name -> powers of what else may take time.
    """

    theory: Mapping[str, str]
    terms: Mapping[str, Powers] = field(default_factory=dict)


CALL = {"a call": {}}

STAGES = {
    "sampling": Model(
        dict(n="1", t="1", q="1", devices="-1"),
        CALL
        | {
            "steps (whatever t)": dict(n=1, q=1, devices=-1),
            "writing (N t Q K)": dict(n=1, t=1, q=1, k=1),
        },
    ),
    "sampling, digits": Model(dict(n="1", q="1", devices="-1"), CALL),
    "writing": Model(dict(n="1", t="1", q="1", k="1", devices="0"), CALL),
    "reading": Model(dict(n="1", t="1", q="1", devices="0"), {"chunks": dict(n=1, q=1)}),
    "Gaussian MI": Model(
        dict(n="1", t="2", q="1 to 2", devices="-1"),
        {
            "factors (t³)": dict(t=3, q=1),
            "a re-pairing": dict(n=1, t=2, pairs=1, m=1, devices=-1),
        },
    ),
    "KSG MI": Model(
        dict(n="2", t="1", q="1", devices="-1"),
        {
            "checks (N t)": dict(n=1, t=1, q=1),
            "counting (N², re-pairings)": dict(n=2, pairs=1, pairings=1, devices=-1),
        },
    ),
    "distances": Model(dict(n="1", t="1", pairs="1", devices="0")),
    "judging aggregators": Model(
        dict(n="1", t="1", q="1 to 2", k="1", devices="-1"),
        CALL | {"steps (whatever t)": dict(n=1, q=1, k=1, devices=-1)},
    ),
}

ON_DEVICE = ("sampling", "sampling, digits", "KSG MI", "judging aggregators")
"""Stages that JAX computes, and that a GPU would; the others are NumPy's and zarr's."""


@dataclass(frozen=True)
class Machine:
    """What a study may run on.

    Attributes:
        name: in the table.
        nodes: that share seeds, checkpoints and pairs among them.
        cores: of each.
        faster: by how much an accelerator does what JAX computes faster than two cores.
    """

    name: str
    nodes: int = 1
    cores: int = 2
    faster: float = 1.0


def sizes_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The factors of laws, out of the columns of the table."""
    columns = {name: table[name].to_numpy(float) for name in ("n", "t", "q", "k", "m", "devices")}
    return columns | dict(pairs=_pairs(columns["q"]), pairings=1 + columns["m"])


def laws_of(table: pd.DataFrame) -> dict[str, PowerLaw]:
    """The law of every stage, fitted to what was not left out."""
    used = table[~table.left_out]
    return {
        name: fit(sizes_of(of), of.seconds, list(model.theory), model.terms)
        for name, model in STAGES.items()
        for of in [used[used.stage == name]]
    }


def check(table: pd.DataFrame, laws: Mapping[str, PowerLaw]) -> pd.DataFrame:
    """The sizes that were left out, with the columns `predicted` and `ratio` (measured over it)."""
    out = table[table.left_out & table.stage.isin(list(STAGES))]
    rows = [of for _, of in out.groupby("stage", sort=False)]
    predicted = [laws[of.stage.iloc[0]](sizes_of(of)) for of in rows]
    out = pd.concat(rows).assign(predicted=np.concatenate(predicted))
    return out.assign(ratio=out.seconds / out.predicted)


def study(
    laws: Mapping[str, PowerLaw], machine: Machine, n: int, t: int, training: str = "sampling"
) -> dict[str, float]:
    """Seconds of every stage of a study like the paper's, where nodes work side by side.

    Blocks of seeds are sampled each by itself. Estimates are split into one pair at one checkpoint
    each and no further: a covariance, or the neighbours of a pair, are one job's.

    Args:
        laws: of every stage.
        machine: that it runs on.
        n, t: seeds and parameters.
        training: the stage that samples.
    """

    def seconds(stage: str, **more: float) -> float:
        size = dict(n=n, t=t, q=CLIENTS, k=1, m=REPAIRINGS, devices=machine.cores) | more
        size |= dict(pairs=_pairs(size["q"]), pairings=1 + size["m"])
        faster = machine.faster if stage in ON_DEVICE else 1.0
        return float(laws[stage](size)) / faster

    found = {training: seconds(training, n=n / machine.nodes, k=CHECKPOINTS)}
    for name in ("reading", "Gaussian MI", "KSG MI", "distances"):
        if machine.nodes == 1:
            found[name] = CHECKPOINTS * seconds(name)
        else:
            jobs = CHECKPOINTS * _pairs(CLIENTS)
            found[name] = seconds(name, q=2) * max(jobs / machine.nodes, 1.0)
    return found


def largest(holds: Callable[[int], bool]) -> int:
    """The largest whole number for which something holds that ends to hold somewhere; 0 if none."""
    low, high = 0, 1
    while high < LARGEST and holds(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def page(table: pd.DataFrame) -> str:
    """The page, every number out of the table."""
    laws = laws_of(table)
    rates = _rates(table)
    faster = min(H100_FLOPS / rates["product"], H100_BANDWIDTH / rates["copying"])
    machines = (
        Machine("these 2 cores (extrapolated beyond the sizes measured)"),
        Machine("one H100 beside them (extrapolated, not measured)", faster=faster),
        Machine("32 nodes of 32 such cores (extrapolated, not measured)", nodes=32, cores=32),
    )
    first = table.iloc[0]
    commits = [commit[:10] for commit in table.commit.dropna().unique()]
    commit = f", commit {' and '.join(commits)}" if commits else ""
    return "\n".join(
        [
            "# The map of cost",
            "",
            f"Measured on {first.machine} ({first.taken[:10]}{commit}), each size in a process "
            "pinned to as many cores as JAX had devices, the least of its repetitions after the "
            "first, which compiles; every size is in [scaling.csv](scaling.csv). `make scaling` "
            "measures and writes this page, `python -m benchmarks.scaling --words` the page alone.",
            "",
            "## How cost grows",
            "",
            "N seeds, t parameters a client, Q clients, K checkpoints. Fitted exponent ± standard "
            "error (in brackets what theory says); estimates are of all pairs at one checkpoint. "
            "The simplest law that holds is a product of powers; where the data ask for it "
            "(Schwarz's criterion) there stand beside it other terms with given powers, such as a "
            "call's fixed price, whose share of the time at the middle size is shown (with one "
            "re-pairing). Spread: of the measurements about the law.",
            "",
            *_exponents(table, laws),
            "",
            "## Does it hold?",
            "",
            "One size a stage was left out of the fit: a combination not among the others, and "
            "larger than all of them.",
            "",
            *_checked(check(table, laws)),
            "",
            _beyond(check(table, laws)),
            "",
            "## How far one gets",
            "",
            f"A study like the paper's: Q = {CLIENTS}, K = {CHECKPOINTS}, both estimators with "
            f"{REPAIRINGS} re-pairings, distances. In each cell the largest size, what takes most "
            "of the time there, and the memory that the Gaussian estimate then needs (it was "
            f"measured to grow by {_share(table):.1f} bytes with each byte of its samples).",
            "",
            *_reach(table, laws, machines),
            "",
            f"The GPU: an H100's peaks are {significant(H100_FLOPS / rates['product'])} times the "
            f"float32 products measured here ({rates['product'] / 1e9:.0f} GFLOP/s) and "
            f"{significant(H100_BANDWIDTH / rates['copying'])} times the memory's rate "
            f"({rates['copying'] / 1e9:.0f} GB/s); sampling and KSG are taken to be "
            f"{significant(faster)} times as fast, the smaller of both, which peaks make an upper "
            "bound. The Gaussian formula, distances and the store stay on the host. The nodes: "
            "blocks of seeds, checkpoints and pairs are independent jobs, so that they are taken "
            "to gain in proportion, and a node's cores by the exponents above; one covariance, or "
            "one pair's neighbours, is not split. Queues, networks and shared disks are left out.",
            "",
            f"For the largest N, what is sampled is `digits` (t = {PARAMETERS}); for the largest "
            "t, a linear layer on random features: a deeper network costs its own passes. Writing "
            "the store is included. Compiling comes on top, once a shape: first calls took up to "
            f"{_compiling(table)} longer.",
            "",
            "## What breaks first",
            "",
            f"At N = {SEEDS:,} on the two cores; the covariance is that of two clients, (2t)² "
            "numbers of float64, and of full rank only for N > 2t. The store holds N Q K t numbers "
            f"of float32, of whose bytes compression left {100 * _left(table):.0f} %.",
            "",
            *_breaks(table, laws, machines[0]),
            "",
            "What to do then:",
            "",
            "- **rank, covariance**: estimate by layer, or after a random or canonical projection "
            "fitted on other seeds (`fedmi.mi.reduce`) to a dimension below N / 2, and say so; "
            "shrinkage works below that but reads too little.",
            "- **KSG**: project likewise, for in so many dimensions its neighbours see little "
            "anyway; take a subsample of seeds (the time falls with its square); fewer checkpoints "
            "or re-pairings.",
            "- **store**: keep fewer checkpoints or the layers that are asked about; distances and "
            "aggregation need a tile at a time.",
            "- **sampling**: more devices or nodes: it is the one stage that splits without end.",
            "",
        ]
    )


def _exponents(table: pd.DataFrame, laws: Mapping[str, PowerLaw]) -> list[str]:
    factors = ("n", "t", "q", "k", "devices")
    lines = [
        "| stage | N | t | Q | K | devices | other terms | spread |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, law in laws.items():
        model = STAGES[name]
        cells = []
        for factor in factors:
            own = "pairs" if factor == "q" and "pairs" in model.theory else factor
            if own not in model.theory:
                cells.append("")
                continue
            note = ", of the pairs" if own == "pairs" else ""
            cells.append(
                f"{law.exponents[own]:.2f} ± {law.errors[own]:.2f} ({model.theory[own]}{note})"
            )
        # A re-pairing takes nothing where there is none.
        sizes = sizes_of(table[table.stage == name].iloc[[0]].assign(m=1))
        shares = {term: (law.term(term, sizes) / law(sizes)).item() for term in law.terms}
        rest = ", ".join(f"{term} {100 * share:.0f} %" for term, share in shares.items())
        lines.append(
            f"| {name} | {' | '.join(cells)} | {rest or 'none'} | {100 * law.spread:.0f} % |"
        )
    return lines


def _beyond(checked: pd.DataFrame) -> str:
    """Which predictions are off by more than `TOLERANCE`, in words."""
    off = checked.stage[(checked.ratio - 1).abs() > TOLERANCE].tolist()
    if not off:
        return f"All are within {TOLERANCE:.0%}."
    return f"Off by more than {TOLERANCE:.0%}, and not to be relied on: {', '.join(off)}."


def _checked(out: pd.DataFrame) -> list[str]:
    lines = [
        "| stage | N, t, Q, K, re-pairings | predicted | measured | measured / predicted |",
        "|---|---|---|---|---|",
    ]
    for row in out.itertuples():
        lines.append(
            f"| {row.stage} | {row.n:,}, {row.t:,}, {row.q}, {row.k}, {row.m} "
            f"| {significant(row.predicted)} s | {significant(row.seconds)} s | {row.ratio:.2f} |"
        )
    return lines


def _reach(
    table: pd.DataFrame, laws: Mapping[str, PowerLaw], machines: Sequence[Machine]
) -> list[str]:
    lines = [
        f"| machine | what | {' | '.join(TIMES)} |",
        "|---|---|" + "---|" * len(TIMES),
    ]
    for machine in machines:
        for what in ("N", "t"):
            cells = [_cell(table, laws, machine, what, limit) for limit in TIMES.values()]
            at = f"t = {PARAMETERS}" if what == "N" else f"N = {SEEDS:,}"
            lines.append(f"| {machine.name} | largest {what} at {at} | {' | '.join(cells)} |")
    return lines


def _cell(
    table: pd.DataFrame, laws: Mapping[str, PowerLaw], machine: Machine, what: str, limit: float
) -> str:
    """The largest N or t within a time, what takes most of it there, and the memory needed."""

    def stages(size: int) -> dict[str, float]:
        if what == "N":
            return study(laws, machine, size, PARAMETERS, "sampling, digits")
        return study(laws, machine, SEEDS, size)

    found = largest(lambda size: sum(stages(size).values()) <= limit)
    if not found:
        return "none"
    bound = (SEEDS - 1) // 2 if what == "t" else inf  # the Gaussian formula needs N > 2t
    size = min(found, bound)
    took = stages(size)
    most = "the rank" if found > bound else max(took, key=took.get)
    n, t = (size, PARAMETERS) if what == "N" else (SEEDS, size)
    return f"{_rounded(size):,} ({most}; {_bytes(_share(table) * n * t * CLIENTS * 4)})"


def _breaks(table: pd.DataFrame, laws: Mapping[str, PowerLaw], machine: Machine) -> list[str]:
    memory = float(table.memory.iloc[0])
    day = TIMES["1 day"]

    def needs(t: int) -> dict[str, float]:
        """Each need in units of what there is."""
        return {
            "rank": (2 * t + 1) / SEEDS,
            "covariance": (2 * t) ** 2 * 8 / memory,
            "KSG": study(laws, machine, SEEDS, t)["KSG MI"] / day,
            "store": _stored(table, t) / DISK,
        }

    lines = [
        "| t | seeds that the Gaussian formula needs | covariance | KSG, all checkpoints "
        f"| store | over the limit (a day, {_bytes(memory)} of memory, {_bytes(DISK)} of disk) |",
        "|---|---|---|---|---|---|",
    ]
    for t in MODELS:
        need = needs(t)
        over = sorted((name for name in need if need[name] > 1), key=need.get, reverse=True)
        lines.append(
            f"| {t:,} | {2 * t + 1:,} | {_bytes((2 * t) ** 2 * 8)} | {_time(need['KSG'] * day)} "
            f"| {_bytes(_stored(table, t))} | {', '.join(over) or 'nothing'} |"
        )
    ends = {name: largest(lambda t, name=name: needs(t)[name] <= 1) for name in needs(1)}
    order = ", ".join(
        f"{name} at t = {_rounded(ends[name]):,}" for name in sorted(ends, key=ends.get)
    )
    return [*lines, "", f"With growing t these give way in turn: {order}."]


def _stored(table: pd.DataFrame, t: int) -> float:
    """Bytes of a study's store."""
    return _left(table) * SEEDS * CLIENTS * CHECKPOINTS * t * 4


def _left(table: pd.DataFrame) -> float:
    """What compression leaves of N Q K t numbers of float32."""
    of = table[table.stage == "writing"]
    return float((of.stored_bytes / (of.n * of.q * of.k * of.t * 4)).median())


def _share(table: pd.DataFrame) -> float:
    """By how much the Gaussian estimate's peak memory grows with the bytes of its samples."""
    of = table[(table.stage == "Gaussian MI") & (table.m > 0)]
    return float(np.polyfit(of.n * of.t * of.q * 4, of.peak_mib * 2**20, 1)[0])


def _compiling(table: pd.DataFrame) -> str:
    stages = ("sampling", "sampling, digits", "KSG MI", "judging aggregators")
    longer = table[table.stage.isin(stages)].groupby("stage", sort=False).compile_seconds.max()
    return ", ".join(f"{significant(value, 2)} s ({name})" for name, value in longer.items())


def _rates(table: pd.DataFrame) -> dict[str, float]:
    """Operations a second of a float32 product, and bytes a second of copying."""
    by_stage = table.set_index("stage")
    product, copying = by_stage.loc["float32 product"], by_stage.loc["copying"]
    return dict(
        product=2 * product.n**2 * product.t / product.seconds,
        copying=2 * copying.n * copying.t * 4 / copying.seconds,
    )


def _pairs(q: float | np.ndarray) -> float | np.ndarray:
    return q * (q - 1) / 2


def _rounded(value: int) -> int:
    """To two digits, downwards: more the laws do not give."""
    unit = 10 ** max(len(str(value)) - 2, 0)
    return value // unit * unit


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if count < 1000 or unit == "PB":
            return f"{significant(count, 2)} {unit}"
        count /= 1000
    raise AssertionError


def _time(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{significant(seconds / size, 2)} {unit}"
    return f"{significant(seconds, 2)} s"
