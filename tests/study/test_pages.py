"""Every page says what its tables say, in words that hold up."""

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from fedmi.study import (
    aggregators,
    claims,
    compression,
    evidence,
    outcomes,
    pages,
    readings,
    results,
    rounds,
    scale_up,
    summary,
    trends,
)

FIGURES = Path(__file__).parents[2] / "figures"
TASKS = ("signal", "digits")
SEVERAL = {
    evidence: ("", "-noise", "-decomposition"),
    outcomes: ("", "-outcomes"),
    scale_up: ("-mi", "-distances", "-averaging"),
}
DRAWN = [
    *((f"{page}-{task}", page, module) for task in TASKS for page, module in (
        ("couplings", trends),
        ("rounds", rounds),
        ("aggregation", aggregators),
        ("compression", compression),
        ("proposition", evidence),
        ("choices", outcomes),
    )),
    *((f"proposition-{task}-skewed", "proposition", evidence) for task in TASKS),
    ("readings-signal", "readings", readings),
    ("scale-up-digits", "scale-up", scale_up),
]  # fmt: skip


@pytest.fixture(scope="module")
def rendered():
    """By name: every page, from the published tables."""
    found = {
        name: pages.render(module_page, module.facts(FIGURES))
        for name, module_page, module in (
            ("claims", "claims", claims),
            ("summary", "summary", summary),
        )
    }
    for name, page, module in DRAWN:
        beside = [FIGURES / f"{name}{ending}.csv" for ending in SEVERAL.get(module, ("",))]
        found[name] = pages.render(page, module.facts(*map(results.read_csv, beside)))
    return found


NAMES = ["claims", "summary", *(name for name, _, _ in DRAWN)]


@pytest.mark.parametrize("name", NAMES)
def test_the_published_page_is_that_of_the_published_tables(rendered, name):
    said, made = (FIGURES / f"{name}.md").read_text().rsplit("\n\nMade ", 1)
    assert said == rendered[name].rstrip()
    assert made.count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_whole(rendered, name):
    text = rendered[name]
    assert not re.search(r"\b(nan|inf|None|Undefined)\b|[{}]|[^\n]  |\n\n\n| [.,;]| \n", text)
    assert text.endswith("\n") and not text.startswith("\n")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


WITHOUT_ERROR = [
    r"[\d.e+-]+ ± [\d.e-]+",
    r"\bp \d\S*",
    r"beyond [\d.]+ standard errors",
    r"[\d.]+( %)? \([-\d.]+ to [-\d.]+\)",  # an interval
    r"rate [\d.]+",
]
EXACT = {
    "aggregation": [r"step [\d.]+"],
    "choices": [r"0\.1 bits", r"(noise|dropout): [\d.]+"],
    "claims": [
        r"Sections? [\d., ]+(and [\d.]+)?", r"0\.1 bits",
        r"\| [\d.]+ (squared error|accuracy) \|",
    ],
    "couplings": [r"0\.1 bits", r"lies [\d.]+ standard errors off"],
    "compression": [r"\| [\d.]+ %", r"\| [\d.]+ \|", r"costs [\d.]+ %"],
    "proposition": [r"\d+: [\d.e-]+"],  # p-values
    "readings": [r"(?<=,000 \|) [\d.,]+", r"[\d.]+ \(`\w+`\)"],  # growth, errors from 0
    "rounds": [r"infinite on [\d.]+"],
    "summary": [
        r"[-\d.]+ to [-\d.]+", r"\| [\d.]+ \|", r"[\d.]+ upwards", r"[\d.]+ bits or more",
        r"\([\d.]+\)",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_its_error(rendered, name):
    text = rendered[name]
    for pattern in WITHOUT_ERROR + EXACT.get(name.split("-")[0], []):
        text = re.sub(pattern, "", text)
    assert not re.findall(r".*\d\.\d.*", text)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (pages.fixed(-0.001), "0.00"),
        (pages.fixed(-0.001, signed=True), "+0.00"),
        (pages.fixed(float("nan")), "–"),
        (pages.fixed(float("inf")), "infinite"),
        (pages.pm(25.1712, 0.0812), "25.17 ± 0.16"),
        (pages.pm(-1210.98, 16.0, signed=True), "-1211 ± 31"),
        (pages.pm(-2e-7, 1e-6), "-2.0e-07 ± 2.0e-06"),
        (pages.pm(0.5, 0.25, 1, signed=True), "+0.5 ± 0.5"),
        (pages.pm(0.5, 0.0), "0.50 ± 0.00"),
        (pages.pm(float("nan"), 0.1), "–"),
        (pages.percent(0.1512), "15 %"),
        (pages.percent(0.1512, 0.0015), "15.12 ± 0.29 %"),
        (pages.percent(-0.0001, digits=1), "0.0 %"),
        (pages.percent(float("nan"), 0.1), "–"),
        (pages.p_value(0.04762), "0.048"),
        (pages.p_value(2.3e-12), "2e-12"),
        (pages.thousands(26400), "26,400"),
        (pages.listed(["a", "b"]), "`a`, `b`"),
        (pages.listed([]), "none"),
    ],
)
def test_numbers_are_written_as_they_are_read(made, said):
    assert made == said


def test_a_fact_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="'chaotic' is undefined"):
        pages.render("stability", {})
