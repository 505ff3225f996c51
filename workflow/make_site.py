"""Makes the site: README, results, docs, API reference and executed notebooks, by Sphinx.

python -m workflow.make_site --results results/quick --into site

Nothing is computed: of a notebook that was not executed there, the source is shown.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

ROOT = Path(__file__).parents[1]
SITE = ROOT / "workflow" / "site"
PACKAGE = ":members:\n   :imported-members:"
API = {
    "fedmi": ("fedmi", f"{PACKAGE}\n   :exclude-members: Task, distance, mi, tasks"),
    "tasks": ("fedmi.tasks", PACKAGE),
    "mi": ("fedmi.mi", PACKAGE),
    "distance": ("fedmi.distance", ":members:"),
    "aggregation": ("fedmi.aggregation", PACKAGE),
    "federation": ("fedmi.sampling.federation", ":members: Federation, federate, draw"),
}
"""The reference's pages, each of a module, and what is shown of it."""
MOST_LINES = 8
"""How much of what a notebook's cell printed is shown."""
FIRST = "digits"
"""The study whose notebooks are shown where several were executed."""


def main() -> None:
    """Lays the pages out beside each other and has Sphinx make the site of them."""
    parser = argparse.ArgumentParser(prog="python -m workflow.make_site", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/quick"))
    parser.add_argument("--into", type=Path, default=Path("site"))
    parser.add_argument("--tree", type=Path, default=Path(".cache/site"), help="where pages lie")
    given = parser.parse_args()
    lay_out(given.results, given.tree)
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    made = subprocess.run([*command, "-b", "html", str(given.tree), str(given.into)])
    if made.returncode:
        sys.exit("the site has warnings, or could not be made")
    print(f"open {given.into / 'index.html'}")


def lay_out(results: Path, tree: Path) -> None:
    """Puts all pages into a folder, from the repository and from executed notebooks."""
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("README.md", "RESULTS.md", "CITATION.cff", "LICENSE"):
        _copy(ROOT / name, tree / name)
    for folder in ("docs", "figures"):
        for path in sorted((ROOT / folder).glob("*.*")):
            _copy(path, tree / folder / path.name)
    for page in sorted((tree / "figures").glob("*.md")):
        if not page.read_text().startswith("# "):
            page.write_text(f"# {_words(page.stem)}\n\n{page.read_text()}")
    executed = _executed(results)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shown = json.loads(executed.get(path.name, path).read_text())
        for cell in shown["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = _shortened(cell["outputs"])
        target = tree / "notebooks" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(shown))
    for name, (module, options) in API.items():
        page = tree / "api" / f"{name}.md"
        page.parent.mkdir(exist_ok=True)
        of = f".. automodule:: {module}\n   {options}"
        page.write_text(f"# {module}\n\n```{{eval-rst}}\n{of}\n```\n")
    for page in tree.rglob("*.md"):
        for link in re.findall(r"\]\((?!\w+:)([^)#\s]+)", page.read_text()):
            target = (page.parent / link).resolve()
            source = ROOT / target.relative_to(tree.resolve())
            if source.is_file() and not target.exists():
                _copy(source, target)
    _copy(SITE / "conf.py", tree / "conf.py")
    (tree / "index.md").write_text(_front(tree))


def _front(tree: Path) -> str:
    """The front page."""
    readme, results = ((tree / name).read_text() for name in ("README.md", "RESULTS.md"))
    shown = readme.partition("## What it shows")[2].partition("\n## ")[0]
    answer = [" ".join(item.split()) for item in re.findall(r"^- (.*(?:\n  .*)*)", shown, re.M)]
    situations = results.partition("## Which aggregator should I use?")[2].strip()
    environment = Environment(
        loader=FileSystemLoader(SITE), trim_blocks=True, keep_trailing_newline=True
    )

    def pages(folder: str) -> list[str]:
        return sorted(path.stem for path in (tree / folder).glob("*.*") if _is_page(path))

    return environment.get_template("index.md.j2").render(
        answer=[re.match(r"\*\*.*?\*\*", item)[0] for item in answer],
        situations=situations,
        **{folder: pages(folder) for folder in ("notebooks", "docs", "api", "figures")},
    )


def _is_page(path: Path) -> bool:
    return path.suffix in (".md", ".ipynb")


def _words(stem: str) -> str:
    """A title out of a file's name."""
    return stem.replace("-", " ").capitalize()


def _executed(results: Path) -> dict[str, Path]:
    """The executed notebooks, by the names of those that they are of."""
    found: dict[str, Path] = {}
    for path in sorted(results.rglob("*.ipynb"), key=lambda path: FIRST not in path.parts):
        about = json.loads(path.read_text())["metadata"].get("papermill", {})
        if about.get("exception") is None and about.get("input_path"):
            found.setdefault(Path(about["input_path"]).name, path)
    return found


def _shortened(outputs: list[dict]) -> list[dict]:
    """What a cell printed as one output, of which the middle is left out where it is long."""
    printed = [output for output in outputs if output["output_type"] == "stream"]
    lines = "".join("".join(output["text"]) for output in printed).splitlines()
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES // 2], "...", *lines[-MOST_LINES // 2 :]]
    others = [output for output in outputs if output["output_type"] != "stream"]
    text = "\n".join(lines)
    return [*([dict(output_type="stream", name="stdout", text=text)] if lines else []), *others]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
