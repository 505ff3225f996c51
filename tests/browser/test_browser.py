"""JupyterLab and the site in a real browser: Chromium or Chrome, driven by Selenium.

`make test-browser` runs these. Screenshots are left in `.cache/browser`, to be looked at.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.notebooks.test_notebooks import AGGREGATION, PARAMS, ROUNDS, TRAINING

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is missing"),
    pytest.mark.skipif(DRIVER is None, reason="Debian's chromium-driver is missing"),
]

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / ".cache" / "browser"
NOTEBOOKS = {
    "01_sample": PARAMS,
    "02_estimate_mi": PARAMS,
    "03_measure_distances": PARAMS,
    "04_draw_figures": PARAMS,
    "06_compare_aggregators": AGGREGATION,
    "13_follow_rounds": ROUNDS,
    "14_train_for_many_rounds": TRAINING,
}
"""The first group of the README's and some of both others, with what they run on here."""
DRAWN = dict.fromkeys(NOTEBOOKS, 1) | {
    "01_sample": 0,
    "04_draw_figures": 2,
    "06_compare_aggregators": 2,
}
"""At least so many pictures."""
STATE = """
const notebook = jupyterapp.shell.currentWidget;
const kernel = notebook && notebook.context && notebook.context.sessionContext.session
  && notebook.context.sessionContext.session.kernel;
if (!kernel) return null;
const cells = notebook.context.model.toJSON().cells.filter(cell => cell.cell_type == 'code');
const outputs = cells.flatMap(cell => cell.outputs);
return {
  status: kernel.status,
  executed: cells.filter(cell => cell.execution_count).length,
  cells: cells.length,
  errors: outputs.filter(output => output.output_type == 'error').map(output => output.evalue),
  pictures: outputs.filter(output => output.data && output.data['image/png']).length,
};
"""


def study_of(name):
    """The params file that a notebook runs on as it stands."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    return re.search(r'study: str = "(params/quick/.*\.yaml)"', code)[1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of JupyterLab on a project of tiny studies."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    for name, entries in NOTEBOOKS.items():
        path = folder / study_of(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(entries))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--allow-root",
            "--IdentityProvider.token=", "--ServerApp.password=",
            "--LabApp.expose_app_in_browser=True", f"--notebook-dir={folder}",
        ],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
        | dict(PYTHONPATH=str(ROOT)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    within(60, lambda: answers(f"{address}/api"))
    yield address
    server.terminate()
    server.wait()


def answers(address):
    try:
        return urllib.request.urlopen(address).status == 200
    except OSError:
        return False


def within(seconds, done):
    """What a function returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.3)
    return found


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="Selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options, service)
    driver.set_window_size(1400, 1000)
    yield driver
    driver.quit()


def picture(browser, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(PICTURES / f"{name}.png"))


def opened(browser, lab, name):
    browser.get(f"{lab}/lab/tree/notebooks/{name}.ipynb?reset")
    within(60, lambda: state(browser) and state(browser)["status"] == "idle")


def state(browser):
    return browser.execute_script(f"if (!window.jupyterapp) return null; {STATE}")


def do(browser, command):
    browser.execute_script("jupyterapp.commands.execute(arguments[0]);", command)


def run_all(browser, seconds=300):
    """Runs all cells, and returns what is then there."""
    do(browser, "notebook:run-all-cells")

    def done():
        at = state(browser)
        finished = at["executed"] == at["cells"] or at["errors"]
        return at if at["status"] == "idle" and finished else None

    return within(seconds, done)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_as_it_stands_and_its_figures_are_seen(lab, browser, name):
    opened(browser, lab, name)
    at = run_all(browser)
    picture(browser, name)
    assert at["errors"] == []
    assert at["pictures"] >= DRAWN[name]


def test_sampling_is_interrupted_and_goes_on(lab, browser):
    opened(browser, lab, "01_sample")
    do(browser, "notebook:run-all-cells")
    within(120, lambda: state(browser)["executed"] >= 2)
    do(browser, "notebook:interrupt-kernel")
    within(120, lambda: state(browser)["status"] == "idle")
    picture(browser, "01_sample-interrupted")
    assert run_all(browser)["errors"] == []


@pytest.mark.parametrize("width", [400, 1400])
def test_the_sites_front_page_can_be_read(browser, tmp_path, width):
    pytest.importorskip("myst_nb", reason="MyST-NB is not installed")
    made = [sys.executable, "-m", "workflow.make_site", "--into", tmp_path / "site"]
    subprocess.run([*made, "--tree", tmp_path / "tree"], cwd=ROOT, check=True)
    browser.set_window_size(width, 1400)
    browser.get((tmp_path / "site" / "index.html").as_uri())
    picture(browser, f"site-{width}")
    wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    broken = "return [...document.images].filter(image => !image.naturalWidth).length"
    assert browser.execute_script(broken) == 0
