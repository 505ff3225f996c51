"""Draws the published figures anew from the published tables, and writes their words.

python -m fedmi.study.redraw figures params/paper

Nothing is sampled or estimated: a figure is what its tables, the study's manifest and the scale's
params files say.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from fedmi.study import (
    aggregators,
    compression,
    evidence,
    plotting,
    rounds,
    scale_up,
    sweep,
    trends,
)
from fedmi.study import params as study_params
from fedmi.study.claims import claims
from fedmi.study.kinds import SKEWED
from fedmi.study.publish import is_of_other, summary
from fedmi.study.tables import read_csv, read_json, write_whole


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn, the name of its files, and its page, if it has one."""

    name: str
    figure: Figure
    words: str | None = None


class Published:
    """The published tables and manifests of one scale.

    Args:
        folder: where they are.
        params: the params files of that scale.
    """

    def __init__(self, folder: Path, params: Path) -> None:
        self._folder, self._params = folder, params
        self.scale = params.name

    def studies(self) -> list[Path]:
        """The params files of the studies that were published.

        Raises:
            ValueError: if one was sampled at another size than its params file says.
        """
        files = [
            path
            for path in sorted(self._params.glob("*.yaml"))
            if self._manifest(path.stem).exists()
        ]
        for path in files:
            manifest = self._manifest(path.stem)
            seeds, asked = read_json(manifest, dict)["seeds"], study_params.load(path).seeds
            if seeds != asked:
                raise ValueError(f"{manifest} tells of {seeds} seeds, and {path} of {asked}")
        return files

    def caption_of(self, study: str) -> str:
        """What a study's title says beside its task and coupling."""
        return plotting.caption_of(self._manifest(study), self.scale)

    def caption(self, seeds: ArrayLike, *unlike: str) -> str:
        """What a title says where it is of several studies."""
        return plotting.caption(self.scale, seeds, *unlike)

    def of_kind(self, kind: str) -> list[Path]:
        """The params files of a kind, such as `rounds`."""
        return sorted((self._params / kind).glob("*.yaml"))

    def tables(self, name: str, *endings: str) -> list[pd.DataFrame]:
        """The tables <name><ending>.csv, none where they were not published."""
        paths = [self._folder / f"{name}{ending}.csv" for ending in endings]
        return [read_csv(path) for path in paths] if all(p.exists() for p in paths) else []

    def _manifest(self, study: str) -> Path:
        return self._folder / f"{study}-manifest.json"


def drawings(of: Published) -> Iterator[Drawn]:
    """Every published figure, one at a time.

    Args:
        of: the tables.
    """
    for path in of.studies():
        study, caption = path.stem, of.caption_of(path.stem)
        if not is_of_other(study):
            yield from _study(of, path, caption)
        name = f"proposition-{study}"
        if found := of.tables(name, "", "-noise", "-decomposition", "-example"):
            words = evidence.words(*found[:3])
            yield Drawn(name, plotting.proposition(*found, caption), words)
        name = f"compression-{study}"
        if found := of.tables(name, "", "-costs"):
            yield Drawn(name, plotting.compression(*found, caption), compression.words(found[0]))
        name = f"couplings-{study}"
        for table in of.tables(name, ""):
            yield Drawn(name, plotting.couplings(table, caption), trends.words(table))
    yield from _kinds(of)


def _study(of: Published, path: Path, caption: str) -> Iterator[Drawn]:
    mi_name, distances_name = plotting.figure_names(path.stem)
    baseline = study_params.load(path).make_task().baseline
    if found := of.tables(mi_name, "", "-learning"):
        yield Drawn(mi_name, plotting.mutual_information(*found, baseline, caption))
    for table in of.tables(distances_name, ""):
        yield Drawn(distances_name, plotting.distances(table, caption))
    name = f"{path.stem}-calibration"
    if found := of.tables(name, "-bands", ""):
        yield Drawn(name, plotting.calibration(*found, caption))


def _kinds(of: Published) -> Iterator[Drawn]:
    for path in of.of_kind("sweep"):
        for table in of.tables(name := f"sweep-{path.stem}", ""):
            drawn = plotting.sweep(table, of.caption(table.n))
            yield Drawn(name, drawn, sweep.words(table))
    for path in of.of_kind("rounds"):
        seeds = study_params.load(path, study_params.Rounds).seeds
        for table in of.tables(name := f"rounds-{path.stem}", ""):
            yield Drawn(name, plotting.rounds(table, of.caption(seeds)), rounds.words(table))
    for path in of.of_kind("aggregation"):
        name = f"aggregation-{path.stem}"
        for table in of.tables(name, ""):
            plan = study_params.load(path, study_params.Aggregation)
            skews = [f"{SKEWED}: {words}" for words in plotting.skews(plan.skew)]
            drawn = plotting.aggregators(table, of.caption(table.seeds, *skews))
            yield Drawn(name, drawn, aggregators.words(table))
            if found := of.tables(f"{name}-landscape", "", "-barrier"):
                drawn = plotting.landscape(*found, of.caption(found[1].seeds, *skews))
                yield Drawn(f"{name}-landscape", drawn)
    for path in of.of_kind("scale_up"):
        name = f"scale-up-{path.stem}"
        if found := of.tables(name, "-mi", "-distances", "-averaging"):
            coupling = f"coupling “{study_params.load(path, study_params.ScaleUp).coupling}”"
            drawn = plotting.scale_up(*found, of.caption(found[0].n, coupling))
            yield Drawn(name, drawn, scale_up.words(*found))
    for path in of.of_kind("estimators"):
        for table in of.tables(name := f"estimators-{path.stem}", ""):
            yield Drawn(name, plotting.bench(table, of.caption(table.n)))


def main(folder: Path, params: Path) -> str:
    """Draws everything; returns what was done, in words."""
    count = 0
    for drawn in drawings(Published(folder, params)):
        plotting.save(drawn.figure, {}, folder, drawn.name)
        plt.close(drawn.figure)
        if drawn.words is not None:
            words = drawn.words
            write_whole(
                folder / f"{drawn.name}.md", lambda draft, words=words: draft.write_text(words)
            )
        count += 1
    for name, words in (("summary", summary(folder)), ("claims", claims(folder))):
        write_whole(folder / f"{name}.md", lambda draft, words=words: draft.write_text(words))
    return f"{count} figures drawn anew in {folder}"


if __name__ == "__main__":
    try:
        print(main(*map(Path, sys.argv[1:3])))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
