"""Figures as files."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from fedmi.study.figures.style import styled
from fedmi.study.tables import write_whole


@styled()
def save(figure: Figure, tables: Mapping[str, pd.DataFrame], folder: Path, name: str) -> list[str]:
    """Writes a figure as PNG and SVG and beside it the tables that it is drawn from.

    Args:
        figure: the figure.
        tables: by the ending of the file's name, which is "" for the figure's own table.
        folder: where.
        name: the files' name without its ending.

    Returns:
        The files' names.
    """
    # Without a date, the same figure is the same file.
    dateless = partial(figure.savefig, format="svg", metadata={"Date": None})
    written = {f"{name}.png": partial(figure.savefig, format="png"), f"{name}.svg": dateless}
    for ending, table in tables.items():
        written[f"{name}{ending}.csv"] = partial(table.to_csv, index=False)
    for file, write in written.items():
        write_whole(folder / file, write)
    return list(written)
