"""Copies a finished run's figures, tables and manifests to the folder that is published.

python -m fedmi.study.publish results/paper figures params
"""

import shutil
import sys
from pathlib import Path

import numpy as np

from fedmi.mi.trust.report import sentence
from fedmi.scopes import COUPLINGS
from fedmi.study import figures, tables
from fedmi.study.claims import claims
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


def summary(published: Path) -> str:
    """The paper's figures in numbers: a Markdown table of the first and the last checkpoint.

    Below it, what the same estimates read where clients share nothing, if that was run.

    Values are means over client pairs; after ± stands 1.96 `perm_sd`, averaged over pairs, that is
    the 95 % error of a single pair.

    Args:
        published: the folder that `publish` wrote to.
    """
    lines = [
        "| task | iteration | plug-in Gaussian | its reading of re-paired seeds | net, Gaussian "
        "| net, KSG | Euclidean distance | closer than other seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for study in ("signal", "digits"):
        names = figures.figure_names(study)
        mi, distances = (tables.read_csv(published / f"{name}.csv") for name in names)
        mi = tables.first_k(mi)
        for iteration in (mi.iteration.min(), mi.iteration.max()):
            rows = mi[mi.iteration == iteration].groupby("estimator").mean(numeric_only=True)
            gaussian, ksg = rows.loc["gaussian"], rows.loc["ksg"]
            apart = distances[
                (distances.iteration == iteration) & (distances.metric == "euclidean")
            ].mean(numeric_only=True)
            re_paired = gaussian.raw_bits - gaussian.net_bits
            lines.append(
                f"| {study} | {iteration} | {gaussian.raw_bits:.2f} | {re_paired:.2f} "
                f"| {gaussian.net_bits:.2f} ± {1.96 * gaussian.perm_sd:.2f} "
                f"| {ksg.net_bits:.2f} ± {1.96 * ksg.perm_sd:.2f} | {apart.distance:.3f} "
                f"| {100 * (1 - apart.distance / apart.unmatched):.1f} % |"
            )
    for study in ("signal", "digits"):
        path = published / f"{figures.figure_names(study + '-null')[0]}.csv"
        if path.exists():
            net = tables.first_k(tables.read_csv(path)).groupby("estimator").net_bits
            ranges = [
                f"{low:.2f} to {high:.2f} ({name})"
                for low, high, name in (
                    (net.min()["gaussian"], net.max()["gaussian"], "Gaussian"),
                    (net.min()["ksg"], net.max()["ksg"], "KSG"),
                )
            ]
            lines.append(
                f"\nNothing shared (`{study}-null`), all pairs and checkpoints: net "
                f"{' and '.join(ranges)} bits."
            )
    return "\n".join(lines + _trust(published)) + "\n"


def _trust(published: Path) -> list[str]:
    """What the calibrated readings are worth: a Markdown table, [] where nothing was calibrated."""
    lines, agree = [], []
    for study in ("signal", "digits"):
        path = published / f"{study}-calibration.csv"
        if not path.exists():
            continue
        trust = tables.read_csv(path)
        bands = tables.read_csv(published / f"{study}-calibration-bands.csv")
        agree.append(f"`{study}`: {sentence(trust, bands.true_bits.max())}")
        for row in trust.itertuples():
            fits = figures.fits(row) + (" (blind)" if row.blind else "")
            ceiling = "" if np.isnan(row.ceiling_bits) else f"{row.ceiling_bits:.1f}"
            limit = f"{row.limit_bits:.2f} ± {1.96 * row.limit_sd:.2f}"
            limit = "" if np.isnan(row.limit_bits) else limit
            lines.append(
                f"| {study} | {figures.ESTIMATORS[row.estimator]} | {row.net_bits:.2f} "
                f"({row.low:.2f} to {row.high:.2f}) | {limit} | {ceiling} | {fits} |"
            )
    if not lines:
        return []
    return [
        "\nClients 0 and 1 at the last iteration, in bits; what fits is told by normal surrogates "
        "with the samples' own covariances:\n",
        "| task | estimator | net reading (95 % interval) | limit for ever more seeds "
        "| ceiling, exact copies aside "
        "| true values that fit |",
        "|---|---|---|---|---|---|",
        *lines,
        "",
        " ".join(agree),
    ]


def main(run: Path, target: Path, params: Path) -> str:
    """Publishes a run and its numbers; returns what was done, in words."""
    copied = publish(run, target, params)
    made = ["summary.md"]
    (target / "summary.md").write_text(summary(target))
    try:
        (target / "claims.md").write_text(claims(target))
        made.append("claims.md")
    except FileNotFoundError as error:
        print(f"claims.md is not made: {error}")
    return f"{len(copied)} files copied to {target}, and {' and '.join(made)} made from them"


if __name__ == "__main__":
    try:
        print(main(*map(Path, sys.argv[1:4])))
    except FileNotFoundError as error:
        sys.exit(str(error))
