"""What the titles of figures say, and what figures are called."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fedmi.study.results import read_json
from fedmi.tasks.signal import DEFAULT_READING

TASKS = {"signal": "signal variation prediction", "digits": "digit recognition"}
ESTIMATORS = {
    "gaussian": "Gaussian formula",
    "gaussian_copula": "Gaussian copula",
    "ksg": "KSG",
    "neural": "InfoNCE",
}
METRICS = {"mse": "mean squared error", "accuracy": "accuracy"}
SKEWS = {"label_concentration": "label concentration", "source_skew": "source skew"}
"""What makes clients unlike: a task's option -> its words."""
CHAOTIC = "chaotic training"
"""What the title of a figure says whose samples no other machine can make again."""
NUMBERS = {"signal": ("figure1-", "figure3-"), "digits": ("figure2-", "figure4-")}
"""The paper's figures of MI and of distances, by study."""


def heading(*parts: str) -> str:
    """A title of parts, without those that are empty."""
    return ", ".join(filter(None, parts))


def task_of(table: pd.DataFrame) -> str:
    """A table's task, in words."""
    task = str(table.task.iloc[0])
    return TASKS.get(task, task)


def coupled(table: pd.DataFrame, caption: str) -> str:
    """The `heading` of a figure of one study."""
    return heading(task_of(table), f"coupling “{table.coupling.iloc[0]}”", caption)


def clients(pair: str) -> str:
    """A pair such as 0-1, in words."""
    return f"clients ({pair.replace('-', ', ')})"


def caption(scale: str, seeds: ArrayLike, *unlike: str) -> str:
    """What a title says beside the task and the coupling: skew, N and the scale.

    Args:
        scale: the scale's name.
        seeds: N, or those of several studies.
        *unlike: what sets the study apart from the plain one, in words.
    """
    least, most = np.min(seeds), np.max(seeds)
    n = f"N = {least:,.0f}" + ("" if least == most else f" to {most:,.0f}")
    return ", ".join([*unlike, n, f"scale “{scale}”"])


def caption_of(manifest: Path, scale: str) -> str:
    """The `caption` of a study that has been sampled.

    Args:
        manifest: its manifest.json.
        scale: the scale's name.
    """
    made = read_json(manifest, dict)
    parameters = made["parameters"]
    unlike = [CHAOTIC] if made["stability"]["chaotic"] else []
    unlike += [f"reading “{reading}”"] if (reading := other_reading(parameters)) else []
    unlike += skews(parameters["options"])
    counts = parameters.get("client_examples", [])
    if set(counts) - {parameters.get("examples")}:
        unlike.append(f"{', '.join(map(str, counts))} examples")
    if parameters.get("rounds", 1) > 1:
        unlike.append(f"round {parameters['rounds']}")
    return caption(scale, made["seeds"] - made["non_finite_seeds"], *unlike)


def skews(options: Mapping[str, object]) -> list[str]:
    """What makes clients unlike each other, in words, out of a task's options."""
    return [
        f"{words} {options[name]:g}"
        for name, words in SKEWS.items()
        if options.get(name) is not None
    ]


def other_reading(parameters: Mapping[str, Any]) -> str | None:
    """The name of a network that is not the task's default (`fedmi.tasks.signal.READINGS`)."""
    named = parameters["options"].get("reading")
    return None if named == DEFAULT_READING else named


def figure_names(study: str) -> tuple[str, str]:
    """What a study's figures of MI and of distances are called, the paper's own by its numbers."""
    mi, apart = NUMBERS.get(study, ("", ""))
    return f"{mi}{study}-mi", f"{apart}{study}-distances"
