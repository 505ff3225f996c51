"""`python -m benchmarks.scaling`: the map of cost, figures/scaling.csv and .md.

Measures every stage of a study at sizes designed to tell the factors' effects apart: one factor at
a time around a middle, some corners, and one size that is larger than all of these. From the
measurements comes the page; `--page` writes it anew without measuring, `--only STAGE` measures one
stage anew and keeps what the table says of the others.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

import pandas as pd

from benchmarks.output import FIGURES
from benchmarks.runner import say
from benchmarks.scaling_page import FACTORS, page
from benchmarks.worker import Worker, pinned
from fedmi.sampling import provenance

DEVICES = (2, 1)
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
        middle: factor -> value.
        alone: factor -> the other values that it takes, by itself.
        corners: further sizes, as changes of the middle.
        one_device: sizes that are measured on one device too, likewise.
        largest: the largest size, likewise.
    """

    middle: Mapping[str, int]
    alone: Mapping[str, Sequence[int]] = field(default_factory=dict)
    corners: Sequence[Mapping[str, int]] = ()
    one_device: Sequence[Mapping[str, int]] = ({},)
    largest: Mapping[str, int] = field(default_factory=dict)

    def sizes(self, devices: int) -> list[Size]:
        """All sizes on so many devices, the middle first and the largest last."""
        if devices == 1:
            changes = [*self.one_device]
        else:
            single = [{name: v} for name, values in self.alone.items() for v in values]
            changes = [{}, *single, *self.corners, *([self.largest] if self.largest else [])]
        return [dict(self.middle, **change, devices=devices) for change in changes]


DESIGNS = {
    "sampling": Design(
        middle=dict(n=1024, t=850, q=3, k=6, m=0),
        alone=dict(n=[512, 4096], t=[210, 1700, 3400], q=[2, 6], k=[1, 20]),
        corners=[dict(n=4096, t=210), dict(n=2048, t=1700), dict(n=512, t=3400)],
        one_device=[{}, dict(t=210), dict(n=512)],
        largest=dict(n=4096, t=2500, q=4, k=10),
    ),
    "sampling, digits": Design(
        middle=dict(n=512, t=850, q=3, k=6, m=0),
        alone=dict(n=[1024], q=[2, 5]),
        corners=[dict(n=2048, q=2)],
        one_device=[{}, dict(n=256)],
        largest=dict(n=1536, q=4),
    ),
    "writing": Design(
        # Tiles of several tens of megabytes: below, memory is not fetched from the system anew.
        middle=dict(n=1024, t=2500, q=3, k=6, m=0),
        alone=dict(n=[512, 2048], t=[1250, 5000], q=[2, 6], k=[3, 15]),
        corners=[dict(n=2048, t=1250), dict(n=512, t=5000)],
        largest=dict(n=1536, t=4000, q=4, k=10),
    ),
    "reading": Design(
        middle=dict(n=4096, t=850, q=3, k=1, m=0),
        alone=dict(n=[2048, 8192], t=[210, 1700], q=[2, 6]),
        corners=[dict(n=8192, t=210), dict(n=2048, t=1700)],
        largest=dict(n=12288, t=2000, q=4),
    ),
    "Gaussian MI": Design(
        middle=dict(n=8192, t=400, q=3, k=1, m=0),
        alone=dict(n=[4096, 16384], t=[100, 200, 850], q=[2, 5], m=[5, 20]),
        corners=[
            dict(n=2048, t=850),
            dict(n=16384, t=850),
            dict(n=16384, t=200, m=10),
            dict(n=4096, t=850, m=10),
        ],
        one_device=[{}, dict(t=850), dict(m=10)],
        largest=dict(n=20480, t=1000, m=4),
    ),
    "KSG MI": Design(
        middle=dict(n=4096, t=400, q=3, k=1, m=0),
        alone=dict(n=[2048, 8192], t=[100, 850], q=[2, 5], m=[5, 20]),
        corners=[dict(n=8192, t=850), dict(n=2048, t=850, m=20), dict(n=8192, t=100, m=10)],
        one_device=[{}, dict(t=850), dict(m=10)],
        largest=dict(n=12288, t=1200, m=5),
    ),
    "distances": Design(
        middle=dict(n=8192, t=400, q=3, k=1, m=0),
        alone=dict(n=[4096, 16384], t=[100, 850], q=[2, 5]),
        corners=[dict(n=16384, t=100), dict(n=4096, t=850)],
        largest=dict(n=20480, t=1000, q=4),
    ),
    "judging aggregators": Design(
        # A call is traced anew, which takes seconds: fewer seeds would measure little else. Models
        # grow with clients and are judged at every checkpoint on all clients' data, beside what
        # is the same at every checkpoint: only corners tell how these go together.
        middle=dict(n=2048, t=400, q=3, k=2, m=0),
        alone=dict(n=[1024, 4096], t=[110, 850], q=[2, 5], k=[1, 4]),
        corners=[
            dict(n=4096, t=110),
            dict(t=850, q=5),
            dict(t=850, k=4),
            dict(q=5, k=4),
            dict(t=110, q=5, k=4),
        ],
        one_device=[{}, dict(n=1024)],
        largest=dict(n=4096, t=1000, q=4, k=3),
    ),
    "float32 product": Design(middle=dict(n=4096, t=4096, q=1, k=1, m=0), one_device=()),
    "copying": Design(middle=dict(n=65536, t=1024, q=1, k=1, m=0), one_device=()),
}
"""Stage -> its design. N is a multiple of 512, so that both devices have whole tiles."""


def measure(stages: Sequence[str]) -> pd.DataFrame:
    """The rows of some stages."""
    started, rows = monotonic(), []
    with tempfile.TemporaryDirectory() as cache:
        for stage in stages:
            say(f"{(monotonic() - started) / 60:.1f} min: {stage}")
            for size in [size for devices in DEVICES for size in DESIGNS[stage].sizes(devices)]:
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

    Raises:
        Failed: if the process fails, with the end of what it said.
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
        worker.answer()
        first, times = worker.run(), []
        while not times or sum(times) < least_seconds:
            last = worker.run()
            times.append(last["seconds"])
    finally:
        worker.close()
    return dict(
        size,
        stage=stage,
        seconds=min(times),
        compile_seconds=max(first["seconds"] - min(times), 0.0),
        repeats=len(times),
        peak_mib=last["peak_mib"],
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
