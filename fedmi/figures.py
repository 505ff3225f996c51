"""Copies a finished run's figures, tables and manifests to the folder that is published.

python -m fedmi.figures results/paper figures
"""

import json
import shutil
import sys
from pathlib import Path


def publish(run: Path, target: Path) -> list[Path]:
    """Copies what a finished run drew, with the facts of the run beside it.

    Args:
        run: results/<scale>, with a folder for each study.
        target: where the files go.

    Returns:
        The copies.

    Raises:
        FileNotFoundError: if a study of the run has not been drawn yet, or there is none.
    """
    studies = sorted(folder.parent for folder in run.glob("*/manifest.json"))
    if not studies:
        raise FileNotFoundError(f"{run} holds no studies; `make study SCALE={run.name}` makes them")
    unfinished = [study.name for study in studies if not (study / "figures.json").exists()]
    if unfinished:
        raise FileNotFoundError(
            f"{run} is not finished: no figures of {', '.join(unfinished)}; "
            f"`make study SCALE={run.name}` goes on with it"
        )
    target.mkdir(parents=True, exist_ok=True)
    copies = []
    for study in studies:
        for name in json.loads((study / "figures.json").read_text()):
            copies.append(shutil.copyfile(run / "figures" / name, target / name))
        copy = target / f"{study.name}-manifest.json"
        copies.append(shutil.copyfile(study / "manifest.json", copy))
    return copies


if __name__ == "__main__":
    try:
        copied = publish(Path(sys.argv[1]), Path(sys.argv[2]))
    except FileNotFoundError as error:
        sys.exit(str(error))
    print(f"{len(copied)} files copied to {sys.argv[2]}")
