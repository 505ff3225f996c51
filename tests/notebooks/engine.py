"""papermill without a kernel: a notebook's cells run in the tests' own process.

A kernel takes seconds to start and to import JAX, and compiles every program anew. The workflow's
own test runs notebooks in kernels; what the others come to does not hang on that.
"""

from pathlib import Path

import papermill
from papermill.engines import Engine, papermill_engines

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


class InProcess(Engine):
    """Runs the cells in order, in one namespace; the first error ends it."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **options):
        names = {"__name__": "__main__", "In": []}  # as IPython has it
        for index, cell in enumerate(nb_man.nb.cells):
            if cell.cell_type == "code":
                nb_man.cell_start(cell, index)
                names["In"].append(cell.source)
                exec(cell.source, names)
                nb_man.cell_complete(cell, index)


papermill_engines.register("in-process", InProcess)


def run(name, folder, study, *, engine="in-process", **parameters):
    """Runs a notebook on a params file of a folder that is laid out as the project.

    With None for an engine it is run in a kernel.
    """
    return papermill.execute_notebook(
        NOTEBOOKS / f"{name}.ipynb",
        folder / f"{name}.ipynb",
        parameters=dict(
            study=str(folder / "params" / "tiny" / f"{study}.yaml"),
            results_folder=str(folder / "results"),
            **parameters,
        ),
        engine_name=engine,
        kernel_name="python3",
        progress_bar=False,
    )
