"""Copies a finished run's figures, tables and manifests to the folder that is published.

python -m fedmi.study.publish results/paper figures params
"""

import shutil
import sys
from pathlib import Path

from fedmi.scopes import COUPLINGS
from fedmi.study import claims, summary, tables
from fedmi.study.pages import render
from fedmi.study.trends import OTHERS, study_of

FOLLOW_UPS = ("proposition", "compression")
"""What follows a study on its samples, and lists what it has drawn in a file of this name."""


def publish(run: Path, target: Path, params: Path) -> list[Path]:
    """Copies what a finished run drew, with the facts of the run beside it.

    Beside the studies, these are what followed them, and the comparisons of couplings and of
    aggregators, the sweeps, rounds and calibrations of estimators that have been drawn.

    Args:
        run: results/<scale>, with a folder for each study.
        target: where the files go.
        params: the folder of all params files; its <scale> says which studies there must be.

    Returns:
        The copies.

    Raises:
        FileNotFoundError: if a study that was sampled has not been drawn since, or none was.
    """
    asked = [run / path.stem for path in sorted((params / run.name).glob("*.yaml"))]
    studies = [study for study in asked if (study / "manifest.json").exists()]
    if not studies:
        raise FileNotFoundError(f"{run} holds no studies; `make study SCALE={run.name}` makes them")
    unfinished = [study.name for study in studies if not _is_drawn(study)]
    if unfinished:
        raise FileNotFoundError(
            f"{run} is not finished: no figures of {', '.join(unfinished)}; "
            f"`make study SCALE={run.name}` goes on with it (`make couplings` with the studies of "
            "other couplings, `make proposition` with those of unlike clients)"
        )
    for study in asked:
        if study not in studies:
            print(f"{study.name} has not been run yet and is left out")
    target.mkdir(parents=True, exist_ok=True)
    copies = []
    for study in studies:
        for name in tables.read_json(study / "figures.json", list):
            if is_of_other(study.name) and not name.endswith(".csv"):
                continue  # drawn in the comparison of couplings
            copies.append(shutil.copyfile(run / "figures" / name, target / name))
        copy = target / f"{study.name}-manifest.json"
        copies.append(shutil.copyfile(study / "manifest.json", copy))
    for drawn in run.glob("couplings-*.json"):
        task = drawn.stem.removeprefix("couplings-")
        compared = [run / study_of(task, name) / "figures.json" for name in COUPLINGS]
        if any(p.exists() and p.stat().st_mtime > drawn.stat().st_mtime for p in compared):
            raise FileNotFoundError(
                f"{drawn.name} is older than some study; `make couplings SCALE={run.name}` draws "
                "it again"
            )
    follow_ups = [path for name in FOLLOW_UPS for path in run.glob(f"*/{name}.json")]
    for drawn in sorted([*run.glob("*.json"), *follow_ups, *run.glob("*/*/figures.json")]):
        for name in tables.read_json(drawn, list):
            copies.append(shutil.copyfile(run / "figures" / name, target / name))
    return copies


def is_of_other(study: str) -> bool:
    """Whether a study is one of the couplings that only the comparison of couplings draws."""
    return study.endswith(tuple(f"-{name}" for name in OTHERS))


def _is_drawn(study: Path) -> bool:
    drawn, sampled = study / "figures.json", study / "manifest.json"
    return drawn.exists() and drawn.stat().st_mtime >= sampled.stat().st_mtime


def main(run: Path, target: Path, params: Path) -> str:
    """Publishes a run and its numbers; returns what was done, in words."""
    copied = publish(run, target, params)
    made = ["summary.md"]
    (target / "summary.md").write_text(render("summary", summary.facts(target)))
    try:
        (target / "claims.md").write_text(render("claims", claims.facts(target)))
        made.append("claims.md")
    except FileNotFoundError as error:
        print(f"claims.md is not made: {error}")
    return f"{len(copied)} files copied to {target}, and {' and '.join(made)} made from them"


if __name__ == "__main__":
    try:
        print(main(*map(Path, sys.argv[1:4])))
    except FileNotFoundError as error:
        sys.exit(str(error))
