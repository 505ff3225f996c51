"""The laws of `make coverage-at-size`, at a small size, have the MI that they are said to have."""

from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import coverage_at_size
from fedmi.mi.null import repairing
from fedmi.mi.trust.surrogates import surrogates
from fedmi.stats import mean_and_error
from fedmi.study import coverage

RUN = Path("nowhere")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((600, 12))
    y = 0.5 * x + draw.standard_normal((600, 12))
    small = surrogates(x, y, repairing(600, 20, jax.random.key(0)))
    monkeypatch.setattr(coverage_at_size, "like", lambda size, run: small)
    monkeypatch.setattr(coverage_at_size, "BITS", dict(signal=3.0, digits=3.0))


@pytest.mark.parametrize("law", coverage_at_size.LAWS)
def test_readings_are_right_where_that_is_promised_and_wrong_where_not(law):
    case = coverage_at_size.Case("signal", law)
    truth = coverage_at_size.true_bits(case, RUN)
    found = [coverage_at_size.read(case, RUN, i) for i in range(40)]
    bias, error = mean_and_error([bits - truth for bits, _ in found])
    promised = law in coverage_at_size.PROMISED
    assert (abs(bias) < 4 * error) == promised
    assert (truth == 3.0) == promised


def test_what_is_read_is_kept_and_counted(tmp_path):
    case = coverage_at_size.Case("digits, quick", "Student, df = 5")
    first = [coverage_at_size.kept(case, tmp_path, i) for i in range(3)]
    assert (tmp_path / "coverage" / "digits-quick-Student-df-5" / "2.json").exists()
    assert first == [coverage_at_size.kept(case, tmp_path, i) for i in range(3)]
    table = coverage_at_size.table({case: [found[1:] for found in first]}, tmp_path)
    assert list(table) == coverage.COLUMNS and not table.promised.any()
    assert set(table.n) == {2000} and set(table.sets) == {3}


def test_data_sets_of_all_cases_are_drawn_in_turn():
    cases = coverage_at_size.CASES
    assert list(coverage_at_size.sets(2)) == [(c, i) for i in (0, 1) for c in cases]
    assert len(cases) == 16
