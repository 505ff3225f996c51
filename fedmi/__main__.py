"""The study's jobs as commands.

python -m fedmi sample | estimate | choices | publish | redraw | verify
"""

import argparse
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import jax

from fedmi.sampling import sampler
from fedmi.study import choices, params, publish, results, tables, verify
from fedmi.study.params import Choices

LAID_OUT = "laid_out"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command, with what its user can mend as one line.

    Args:
        arguments: of the command line, which by default are the process's own.
    """
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except (ValueError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def sample(given: Namespace) -> None:
    """Samples a study, one of its blocks, or makes its empty store."""
    if given.distributed:
        jax.distributed.initialize()
    study = params.load(given.study)
    folder = params.results_of(given.study, given.results)
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
        left = dict(block=block, parameters=samples.parameters)
        results.write_json(folder / "blocks" / f"{name}.json", left)


def estimate(given: Namespace) -> None:
    """Estimates the mutual information at one checkpoint of a sampled study."""
    study = params.load(given.study)
    folder = params.results_of(given.study, given.results)
    samples = results.samples_of(folder, given.study)
    tables.checkpoint_rows(study, samples, folder, given.checkpoint)


def part_of_choices(given: Namespace) -> None:
    """Samples a group of a multiverse's points, or measures a point that has been sampled."""
    plan = params.load(given.study, Choices)
    folder = params.results_of(given.study, given.results)
    if given.group is not None:
        choices.sample_group(plan, given.group, folder)
    else:
        choices.measure(plan, given.point, folder)


def publish_run(given: Namespace) -> None:
    """Copies a finished run's figures, tables and manifests to the folder that is published."""
    print(publish.publish(given.run_folder, given.target, given.params))
    print(verify.publish(given.run_folder, given.target, given.params / given.run_folder.name))


def redraw(given: Namespace) -> None:
    """Draws the published figures anew from the published tables, and writes their pages."""
    print(publish.redraw(given.target))


def verify_published(given: Namespace) -> None:
    """Makes the first seeds of what was published again, and compares; exit status 1 if it differs.

    One study after the other, or those that are named.
    """
    table = verify.verify(given.target, given.params, given.studies, given.workers)
    print(verify.worded(table))
    failed = int((table.verdict != verify.HOLDS).sum())
    if failed:
        sys.exit(f"{failed} of {len(table)} differ from what was published")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fedmi", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name, run, *, of_study=True):
        added = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        added.set_defaults(run=run)
        if of_study:
            added.add_argument("study", type=Path, help="the params file")
            added.add_argument("--results", default="results", help="folder of all results")
        return added

    sampling = command("sample", sample)
    part = sampling.add_mutually_exclusive_group()
    part.add_argument("--block", type=int, help="only this one of the study's blocks, from 0")
    part.add_argument("--lay-out", action="store_true", help="only make the store, and no samples")
    sampling.add_argument(
        "--distributed", action="store_true", help="as one of several processes that srun started"
    )
    command("estimate", estimate).add_argument(
        "--checkpoint", type=int, required=True, help="one of the study's"
    )
    of_choices = command("choices", part_of_choices).add_mutually_exclusive_group(required=True)
    of_choices.add_argument("--group", help="of points whose clients have the same data")
    of_choices.add_argument("--point", help="one of the multiverse's")
    publishing = command("publish", publish_run, of_study=False)
    publishing.add_argument("run_folder", type=Path, help="results/<scale>")
    redrawing = command("redraw", redraw, of_study=False)
    verifying = command("verify", verify_published, of_study=False)
    for each in (publishing, redrawing, verifying):
        each.add_argument("target", type=Path, help="the folder that is published")
    publishing.add_argument("--params", type=Path, default=Path("params"), help="all params files")
    verifying.add_argument("studies", nargs="*", help="of these alone")
    verifying.add_argument(
        "--params", type=Path, default=Path("params", "paper"), help="the studies' params files"
    )
    verifying.add_argument("--workers", type=int, default=1, help="processes")
    return parser


if __name__ == "__main__":
    main()
