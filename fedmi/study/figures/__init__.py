"""The paper's figures, one family a file, drawn from the tidy tables of the study."""

from fedmi.study.figures.aggregators import aggregators, landscape
from fedmi.study.figures.calibration import calibration, fits
from fedmi.study.figures.captions import (
    ESTIMATORS,
    METRICS,
    caption,
    caption_of,
    figure_names,
    skews,
)
from fedmi.study.figures.choices import choices
from fedmi.study.figures.compression import compression
from fedmi.study.figures.couplings import couplings
from fedmi.study.figures.coverage import coverage
from fedmi.study.figures.distances import distances
from fedmi.study.figures.estimators import bench
from fedmi.study.figures.mi import mutual_information
from fedmi.study.figures.proposition import proposition
from fedmi.study.figures.readings import readings
from fedmi.study.figures.rounds import rounds
from fedmi.study.figures.scale_up import scale_up
from fedmi.study.figures.training import training

__all__ = [
    "ESTIMATORS",
    "METRICS",
    "aggregators",
    "bench",
    "calibration",
    "caption",
    "caption_of",
    "choices",
    "compression",
    "couplings",
    "coverage",
    "distances",
    "figure_names",
    "fits",
    "landscape",
    "mutual_information",
    "proposition",
    "readings",
    "rounds",
    "scale_up",
    "skews",
    "training",
]
