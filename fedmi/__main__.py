"""Parts of a study as jobs: `python -m fedmi sample` and `python -m fedmi estimate`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from fedmi.sampling import sampler
from fedmi.study import estimates, manifest, tables
from fedmi.study import params as study_params

LAID_OUT = "laid_out"


def sample(arguments: Sequence[str] | None = None) -> None:
    """Samples a study, one of its blocks, or makes its empty store.

    Args:
        arguments: of the command line, which by default are the process's own.

    Raises:
        ValueError, OSError: as `fedmi.sample` does.
    """
    parser = _parser("Samples a study; seeds that its store holds already are not computed again.")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--block", type=int, help="only this one of the study's blocks, from 0")
    part.add_argument("--lay-out", action="store_true", help="only make the store, and no samples")
    parser.add_argument(
        "--distributed", action="store_true", help="as one of several processes that srun started"
    )
    given = parser.parse_args(arguments)
    if given.distributed:
        jax.distributed.initialize()
    study = study_params.load(given.params)
    folder = study_params.results_of(given.params, given.results)
    name, block = str(given.block), (given.block, study.blocks)
    if given.lay_out:
        name, block = LAID_OUT, None
    elif given.block is None:
        block = sampler.WHOLE
    samples = sampler.sample_block(
        study.design(),
        seeds=study.seeds,
        block=block,
        store=folder / "samples.zarr",
        tile=study.tile,
    )
    if block != sampler.WHOLE:
        text = json.dumps(dict(block=block, parameters=samples.parameters), indent=2) + "\n"
        path = folder / "blocks" / f"{name}.json"
        tables.write_whole(path, lambda draft: draft.write_text(text))


def estimate(arguments: Sequence[str] | None = None) -> None:
    """Estimates the mutual information at one checkpoint of a sampled study.

    Args:
        arguments: as for `sample`.

    Raises:
        ValueError, OSError: as `fedmi.study.estimates.checkpoint_rows` and
            `fedmi.study.manifest.samples_of` do.
    """
    parser = _parser("Estimates the mutual information at one checkpoint of a sampled study.")
    parser.add_argument("--checkpoint", type=int, required=True, help="one of the study's")
    given = parser.parse_args(arguments)
    study = study_params.load(given.params)
    folder = study_params.results_of(given.params, given.results)
    samples = manifest.samples_of(folder, given.params)
    estimates.checkpoint_rows(study, samples, folder, given.checkpoint)


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("params", type=Path, help="the study's params file")
    parser.add_argument("--results", default="results", help="folder of all results")
    return parser


def main() -> None:
    """Runs the command that is named first, with what the user can mend as one message."""
    commands = dict(sample=sample, estimate=estimate)
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(f"python -m fedmi: name one of {', '.join(commands)}")
    try:
        commands[sys.argv[1]](sys.argv[2:])
    except (ValueError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
