"""`python -m benchmarks.scaling`: the map of cost, figures/scaling.csv and .md.

Measures every stage of a study at a middle size, with one factor at a time made smaller and larger,
and at a size that is larger than all of these. From the measurements comes the page; `--page`
writes it anew without measuring, `--only STAGE` measures one stage anew and keeps what the table
says of the others.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

import pandas as pd

from benchmarks.output import FIGURES, say
from benchmarks.scaling_page import FACTORS, page
from benchmarks.worker import Worker, pinned
from fedmi.sampling import provenance

DEVICES = 2
LEAST_SECONDS = 1.5
"""For which each size is repeated at least."""

COLUMNS = [
    "stage", *FACTORS, "seconds", "compile_seconds", "repeats", "peak_mib", "stored_bytes",
    "machine", "memory", "commit", "taken",
]  # fmt: skip

Size = dict[str, int]


@dataclass(frozen=True)
class Design:
    """At which sizes a stage is measured.

    Attributes:
        middle: n, t, q (clients), k (checkpoints) and m (re-pairings).
        alone: factor -> the other values that it takes, by itself; `devices` takes 1 as well.
        largest: the largest size, as changes of the middle.
    """

    middle: Mapping[str, int]
    alone: Mapping[str, Sequence[int]] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)

    def sizes(self) -> list[Size]:
        """All of them, the middle first and the largest last."""
        middle = dict(self.middle, devices=DEVICES)
        if not self.alone:
            return [middle]
        single = [{name: v} for name, values in self.alone.items() for v in values]
        return [middle | change for change in ({}, *single, dict(devices=1), self.largest)]


DESIGNS = {
    "sampling": Design(
        dict(n=1024, t=850, q=3, k=6, m=0),
        dict(n=[512, 4096], t=[210, 1700, 3400], q=[2, 6], k=[1, 20]),
        largest=dict(n=4096, t=2500, q=4, k=10),
    ),
    "sampling, digits": Design(
        dict(n=512, t=850, q=3, k=6, m=0),
        dict(n=[1024], q=[2, 5]),
        largest=dict(n=1536, q=4),
    ),
    "writing": Design(
        # Tiles of several tens of megabytes: below, memory is not fetched from the system anew.
        dict(n=1024, t=2500, q=3, k=6, m=0),
        dict(n=[512, 2048], t=[1250, 5000], q=[2, 6], k=[3, 15]),
        largest=dict(n=1536, t=4000, q=4, k=10),
    ),
    "reading": Design(
        dict(n=4096, t=850, q=3, k=1, m=0),
        dict(n=[2048, 8192], t=[210, 1700], q=[2, 6]),
        largest=dict(n=12288, t=2000, q=4),
    ),
    "Gaussian MI": Design(
        dict(n=8192, t=400, q=3, k=1, m=0),
        dict(n=[4096, 16384], t=[100, 200, 850], q=[2, 5], m=[5, 20]),
        largest=dict(n=20480, t=1000, m=4),
    ),
    "KSG MI": Design(
        dict(n=4096, t=400, q=3, k=1, m=0),
        dict(n=[2048, 8192], t=[100, 850], q=[2, 5], m=[5, 20]),
        largest=dict(n=12288, t=1200, m=5),
    ),
    "distances": Design(
        dict(n=8192, t=400, q=3, k=1, m=0),
        dict(n=[4096, 16384], t=[100, 850], q=[2, 5]),
        largest=dict(n=20480, t=1000, q=4),
    ),
    "judging aggregators": Design(
        # A call is traced anew, which takes seconds: fewer seeds would measure little else.
        dict(n=2048, t=400, q=3, k=2, m=0),
        dict(n=[1024, 4096], t=[110, 850], q=[2, 5], k=[1, 4]),
        largest=dict(n=4096, t=1000, q=4, k=3),
    ),
    "float32 product": Design(dict(n=4096, t=4096, q=1, k=1, m=0)),
    "copying": Design(dict(n=65536, t=1024, q=1, k=1, m=0)),
}
"""Stage -> its design. N is a multiple of 512, so that both devices have whole tiles."""


def measure(stages: Sequence[str]) -> pd.DataFrame:
    """The rows of some stages."""
    started, rows = monotonic(), []
    with tempfile.TemporaryDirectory() as cache:
        for stage in stages:
            say(f"{(monotonic() - started) / 60:.1f} min: {stage}")
            for size in DESIGNS[stage].sizes():
                rows.append(measured(stage, size, cache))
                say(f"  {size}: {rows[-1]['seconds']:.3f} s")
    return pd.DataFrame(rows, columns=COLUMNS)


def measured(stage: str, size: Size, cache: str, least_seconds: float = LEAST_SECONDS) -> dict:
    """The row of a stage at a size, from a process with so many cores and devices of JAX's.

    Args:
        stage: out of `benchmarks.stages.STAGES`.
        size: n, t, q (clients), k (checkpoints), m (re-pairings) and devices.
        cache: folder of compiled programs.
        least_seconds: after the first run, which compiles, others follow for so long.
    """
    cores = str(size["devices"])
    environment = dict(
        JAX_PLATFORMS="cpu",
        JAX_NUM_CPU_DEVICES=cores,
        OPENBLAS_NUM_THREADS=cores,
        OMP_NUM_THREADS=cores,
        JAX_COMPILATION_CACHE_DIR=cache,
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    with pinned(size["devices"]):
        worker = Worker("benchmarks.stages:ready", dict(stage=stage, size=size), environment)
    try:
        worker.ready.result()
        first, runs = worker.run().result(), []
        while not runs or sum(run["seconds"] for run in runs) < least_seconds:
            runs.append(worker.run().result())
    finally:
        worker.close()
    least = min(run["seconds"] for run in runs)
    return dict(
        size,
        stage=stage,
        seconds=least,
        compile_seconds=max(first["seconds"] - least, 0.0),
        repeats=len(runs),
        peak_mib=runs[-1]["peak_mib"],
        stored_bytes=first.get("stored_bytes"),
        machine=provenance.hardware(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        commit=provenance.code()["commit"],
        taken=provenance.now(),
    )


def with_others(new: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """The stages measured anew in the place of what the table said of them."""
    parts = {stage: of for table in (old, new) for stage, of in table.groupby("stage")}
    return pd.concat([parts[stage] for stage in DESIGNS if stage in parts])[COLUMNS]


def main() -> None:
    """Measures, unless only the page is asked for, and writes the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--page", action="store_true", help="the page alone, from the table")
    parser.add_argument("--only", metavar="STAGE", choices=DESIGNS, help="measure one stage anew")
    given = parser.parse_args()
    path = FIGURES / "scaling.csv"
    if not given.page:
        table = measure([given.only] if given.only else list(DESIGNS))
        if given.only:
            table = with_others(table, pd.read_csv(path))
        table.to_csv(path, index=False, float_format="%.6g")
    path.with_suffix(".md").write_text(page(pd.read_csv(path)))


if __name__ == "__main__":
    main()
