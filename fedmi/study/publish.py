"""Figures with their tables and pages: entered as they are drawn, published, and drawn anew.

Every notebook that draws leaves `figures.json` in its folder, last of all: what it drew, from which
tables of that folder, of which samples. Publishing copies what these name and gathers them in
`manifest.json`; out of that and the published tables everything can be drawn and worded again.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from fedmi.study import (
    aggregators,
    claims,
    compression,
    coverage,
    evidence,
    figures,
    origins,
    outcomes,
    pages,
    readings,
    results,
    rounds,
    scale_up,
    story,
    summary,
    training,
    trends,
)
from fedmi.study.figures.style import styled

ENTERED = "figures.json"
"""In a folder of results: what was drawn from its tables."""
PUBLISHED = "manifest.json"
"""In the folder that is published: the same of all that it holds."""


@dataclass(frozen=True)
class Kind:
    """How figures of one kind are drawn from their tables, and what their page says.

    Attributes:
        figure: takes the tables, further options by name, and the caption.
        tables: the endings of the tables' names, in the figure's order.
        facts: takes the same tables; what the template of the kind's name words.
    """

    figure: Callable[..., Figure]
    tables: Sequence[str] = ("",)
    facts: Callable[..., dict] | None = None


KINDS = {
    "mi": Kind(figures.mutual_information, ("", "-learning")),
    "distances": Kind(figures.distances),
    "calibration": Kind(figures.calibration, ("-bands", "")),
    "choices": Kind(figures.choices, ("", "-outcomes"), outcomes.facts),
    "couplings": Kind(figures.couplings, facts=trends.facts),
    "coverage": Kind(figures.coverage, facts=coverage.facts),
    "proposition": Kind(
        figures.proposition,
        ("", "-noise", "-decomposition", "-example"),
        lambda tests, noise, decomposition, _: evidence.facts(tests, noise, decomposition),
    ),
    "compression": Kind(
        figures.compression, ("", "-costs"), lambda table, _: compression.facts(table)
    ),
    "aggregation": Kind(figures.aggregators, facts=aggregators.facts),
    "landscape": Kind(figures.landscape, ("", "-barrier")),
    "readings": Kind(figures.readings, facts=readings.facts),
    "rounds": Kind(figures.rounds, facts=rounds.facts),
    "scale-up": Kind(figures.scale_up, ("-mi", "-distances", "-averaging"), scale_up.facts),
    "training": Kind(
        lambda table, *_, caption: figures.training(table, caption),
        training.TABLES,
        training.facts,
    ),
    "estimators": Kind(figures.bench),
}


@dataclass(frozen=True)
class Drawing:
    """A figure that a notebook has drawn.

    Attributes:
        kind: one of `KINDS`.
        name: of its files, without the ending.
        figure: the figure.
        tables: the ending of a table's name -> its file in the notebook's folder of results.
        caption: what the figure's title says beside what its tables say.
        page: what is said of it, if anything.
        options: what the figure was given besides, by name.
    """

    kind: str
    name: str
    figure: Figure
    tables: dict[str, str]
    caption: str
    page: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """What is written down of a drawing.

    Attributes:
        kind, name, caption, options: as in `Drawing`.
        tables: the ending of a table's name -> its path, from the run's folder or the published.
        files: the pictures, and the page.
        samples: study -> which samples of it the tables are of (`results.identity`).
        made: from which code and params file, with what, where, when, in how many seconds
            (`results.made`); None of what was published before that was written down.
    """

    kind: str
    name: str
    caption: str
    options: dict[str, Any]
    tables: dict[str, str]
    files: list[str]
    samples: dict[str, str]
    made: dict[str, Any] | None = None

    def draw(self, folder: Path) -> tuple[Figure, str | None]:
        """The figure and the page, anew from the tables in a folder."""
        kind = KINDS[self.kind]
        tables = [results.read_csv(folder / self.tables[ending]) for ending in kind.tables]
        figure = kind.figure(*tables, **self.options, caption=self.caption)
        page = pages.render(self.kind, kind.facts(*tables)) if kind.facts else None
        return figure, page and origins.signed(page, self.made)


def save(
    folder: Path,
    *drawings: Drawing,
    run: Path,
    study: str,
    started: float,
    of: Sequence[str] = (),
) -> pd.DataFrame:
    """Saves what a notebook drew, in the run's folder of figures, and enters it in `figures.json`.

    Args:
        folder: of the notebook's results, where the tables are.
        *drawings: the figures.
        run: the folder of the scale's results.
        study: the path of the params file.
        started: what `fedmi.study.params.check_given` returned.
        of: the studies whose samples the tables are of.

    Returns:
        The files: name and size.
    """
    samples = {name: results.identity(run / name / results.MANIFEST) for name in of}
    made = results.made(study, started, folder)
    entries = []
    for drawing in drawings:
        places = {end: str((folder / of).relative_to(run)) for end, of in drawing.tables.items()}
        entries.append(_saved(drawing, run / "figures", places, samples, made))
    _write(folder / ENTERED, entries)
    paths = [run / "figures" / file for entry in entries for file in entry.files]
    paths += [run / table for entry in entries for table in entry.tables.values()]
    sizes = [round(path.stat().st_size / 1024, 1) for path in paths]
    return pd.DataFrame({"KiB": sizes}, index=[str(path.relative_to(run)) for path in paths])


def publish(run: Path, target: Path, params: Path) -> str:
    """Copies what a finished run drew, with the manifests of its studies beside it.

    What was published before stays, unless it is drawn anew or of samples that are others now. What
    is drawn may be of published studies, too, if it is of the very samples that were published.

    Args:
        run: results/<scale>, with a folder for each study.
        target: where the files go.
        params: the folder of all params files; its <scale> says which studies there must be.

    Returns:
        What was done, in words.

    Raises:
        FileNotFoundError: if a study was sampled after all that was drawn of it, or nothing was
            drawn at all.
        ValueError: if any of it was made from other code than the rest, or from code that is in no
            commit.
    """
    asked = sorted(path.stem for path in (params / run.name).glob("*.yaml"))
    manifests = {study: run / study / results.MANIFEST for study in asked}
    samples = {s: results.identity(path) for s, path in manifests.items() if path.exists()}
    drawn = sorted([*run.glob(f"*/{ENTERED}"), *run.glob(f"*/*/{ENTERED}")])
    if not samples and not drawn:
        raise FileNotFoundError(f"{run} holds no studies; `make study SCALE={run.name}` makes them")
    entries = [entry for path in drawn for entry in read(path) if set(entry.samples) <= {*asked}]
    made = {entry.name: entry.made for entry in entries}
    made |= {study: results.read_json(manifests[study], dict).get("made") for study in samples}
    origins.check(made)
    missing = samples.keys() - {path.parent.name for path in drawn}
    end = f"-{results.MANIFEST}"
    published_of = {path.name.removesuffix(end): path for path in target.glob(f"*{end}")}
    known = {s: results.identity(path) for s, path in published_of.items()} | samples

    def of_others(entry: Entry) -> bool:
        return any(known.get(study) != own for study, own in entry.samples.items())

    old = {entry.name for entry in entries if of_others(entry)}
    if missing or old:
        raise FileNotFoundError(
            f"{run} is not finished: there are no figures of {', '.join(sorted(missing | old))} "
            f"from the samples that are there; `make study SCALE={run.name}` goes on with it (as "
            "`make couplings`, `make proposition` and `make compression` do with theirs)"
        )
    for study in asked:
        if study not in samples:
            print(f"{study} has not been run here; what was published of it stays")
    # Studies of which only the comparison of couplings, or of readings, shows figures.
    beside = {trends.study_of(study, other) for study in asked for other in trends.OTHERS}
    beside |= {other for study in asked for other in readings.others(study)}
    published = []
    for entry in entries:
        tables = {ending: f"{entry.name}{ending}.csv" for ending in entry.tables}
        files = [] if entry.samples and entry.samples.keys() <= beside else entry.files
        for ending, name in tables.items():
            results.write_whole(target / name, (run / entry.tables[ending]).read_bytes())
        for name in files:
            results.write_whole(target / name, (run / "figures" / name).read_bytes())
        published.append(replace(entry, tables=tables, files=files))
    for study in samples:
        results.write_whole(target / f"{study}-manifest.json", manifests[study].read_bytes())
    before = read(target / PUBLISHED) if (target / PUBLISHED).exists() else []
    anew = {entry.name for entry in published}
    kept = [entry for entry in before if entry.name not in anew and not of_others(entry)]
    _write(target / PUBLISHED, sorted([*published, *kept], key=lambda entry: entry.name))
    return f"{len(published)} figures' files copied to {target}; {_write_pages(target)}"


def add(target: Path, drawing: Drawing, tables: Mapping[str, pd.DataFrame], made: dict) -> None:
    """Publishes a figure that no notebook draws, in place of one of its name.

    Args:
        target: the folder that is published.
        drawing: the figure; the names of its tables are those of the published files.
        tables: by ending.
        made: as `results.made` has it.
    """
    for ending, table in tables.items():
        results.write(table, target / drawing.tables[ending])
    entry = _saved(drawing, target, drawing.tables, {}, made)
    others = [each for each in read(target / PUBLISHED) if each.name != drawing.name]
    _write(target / PUBLISHED, sorted([*others, entry], key=lambda each: each.name))


def redraw(published: Path) -> str:
    """Draws everything anew from the published tables, in its place; returns what was done.

    Nothing is sampled or estimated.
    """
    count = 0
    for entry in read(published / PUBLISHED):
        if entry.files:
            figure, page = entry.draw(published)
            _save(published, entry.name, figure, page)
            plt.close(figure)
            count += 1
    return f"{count} figures drawn anew in {published}; {_write_pages(published)}"


def read(path: Path) -> list[Entry]:
    """What a `figures.json`, or the published manifest, holds.

    Raises:
        fedmi.study.results.MissingResults: if it is not there.
        ValueError: if it is damaged.
    """
    if not path.exists():
        raise results.MissingResults(f"there is no {path}: `make figures` publishes what was drawn")
    return [Entry(**entry) for entry in results.read_json(path, list)]


def _write(path: Path, entries: Sequence[Entry]) -> None:
    results.write_json(path, [asdict(entry) for entry in entries])


def _saved(
    drawing: Drawing,
    folder: Path,
    tables: dict[str, str],
    samples: dict[str, str],
    made: dict[str, Any],
) -> Entry:
    """Saves a drawing's pictures and page in a folder; returns what is written down of it."""
    page = drawing.page and origins.signed(drawing.page, made)
    files = _save(folder, drawing.name, drawing.figure, page)
    return Entry(
        drawing.kind,
        drawing.name,
        drawing.caption,
        drawing.options,
        tables,
        files,
        samples,
        made,
    )


def _save(folder: Path, name: str, figure: Figure, page: str | None) -> list[str]:
    """Writes a figure as PNG and SVG, and its page; returns the files' names."""
    files = dict(_pictures(name, figure))
    if page is not None:
        files[f"{name}.md"] = page.encode()
    for file, content in files.items():
        results.write_whole(folder / file, content)
    return list(files)


def _pictures(name: str, figure: Figure) -> Iterator[tuple[str, bytes]]:
    for ending in ("png", "svg"):
        content = io.BytesIO()
        # Without a date, the same figure is the same file.
        metadata = {"Date": None} if ending == "svg" else {}
        with styled():
            figure.savefig(content, format=ending, metadata=metadata)
        yield f"{name}.{ending}", content.getvalue()


RESULTS = "RESULTS.md"
"""What tells the whole story, beside the folder that is published."""


def _write_pages(published: Path) -> str:
    """Writes the pages that are of all tables together; returns what was done."""
    made = [entry.made for entry in read(published / PUBLISHED)]
    said = []
    for path, name, of in (
        (published / "summary.md", "summary", summary.facts),
        (published / "claims.md", "claims", claims.facts),
        (published.parent / RESULTS, "story", story.facts),
    ):
        try:
            facts = of(published)
        except FileNotFoundError as error:
            said.append(f"{path.name} is not, for {error}")
            continue
        results.write_whole(path, origins.signed(pages.render(name, facts), *made))
        said.append(f"{path.name} is written")
        if name == "claims":
            results.write(claims.table(facts), published / "claims.csv")
    return ", ".join(said)
