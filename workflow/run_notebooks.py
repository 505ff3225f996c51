"""Runs notebooks one after another by papermill, in one kernel: for those shorter than its start.

What one has left in the kernel is removed before the next, so that each runs as it would alone.
"""

import argparse
import sys
from pathlib import Path

import papermill
from jupyter_client.manager import KernelManager

KERNEL = "python3"
AFRESH = "%matplotlib inline\n%reset -f\nimport matplotlib.pyplot as plt\nplt.close('all')\ndel plt"


def main() -> None:
    """Runs them all, or as far as the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="+", help="names, without ending")
    parser.add_argument("--study", required=True, help="the params file")
    parser.add_argument("--results", required=True, help="the folder of all results")
    parser.add_argument("--into", type=Path, required=True, help="the folder of the executed ones")
    given = parser.parse_args()
    kernel = KernelManager(kernel_name=KERNEL)
    try:
        for place, name in enumerate(given.notebooks):
            if place:
                client = kernel.blocking_client()
                client.start_channels()
                client.wait_for_ready()
                client.execute_interactive(AFRESH, silent=True)
                client.stop_channels()
            papermill.execute_notebook(
                f"notebooks/{name}.ipynb",
                str(given.into / f"{name}.ipynb"),
                dict(study=given.study, results_folder=given.results),
                kernel_name=KERNEL,
                progress_bar=False,
                log_output=True,
                km=kernel,
            )
    except papermill.PapermillExecutionError as error:
        sys.exit(str(error))
    finally:
        if kernel.has_kernel:
            kernel.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
