# What the rules are made of: the studies of a scale, the commands, and the files that they come to.

import json
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

SCALE = config.get("scale", "quick")
PARAMS, RESULTS = f"params/{SCALE}", f"results/{SCALE}"
STUDY = f"{RESULTS}/{{study}}"
LEFT_OUT = f"{RESULTS}/left_out"  # never made
ENVIRONMENT = "../environment.yml"  # what `--software-deployment-method conda` would use


# Importing fedmi takes seconds and whatever the user's tasks do, so that it has its own process.
ASK = """
import json, pathlib, sys
from fedmi.study import params, points, readings, trends
scale, checked = sys.argv[1], sys.argv[2] == "True"
faults = params.faults(scale) if checked else {}
compared = readings.studies(""), readings.others("")
print("told", json.dumps([faults, trends.OTHERS, *compared, points.laid_out(pathlib.Path(scale))]))
"""


def ask(scale, checked):
    """What is wrong with the params files of a scale, if they are checked, and what they lay out.

    That is: the faults by file, which studies are compared, and the points of multiverses.
    """
    asked = [sys.executable, "-c", ASK, scale, str(checked)]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        raise WorkflowError(f"The params files cannot be checked:\n{done.stderr}")
    told = [line for line in done.stdout.splitlines() if line.startswith("told ")]
    return json.loads(told[-1].removeprefix("told "))


# Whoever plans checks them; a job that another machine runs has been planned.
FAULTS, COUPLINGS, READINGS, BUT_DEFAULT, CHOICES = ask(PARAMS, workflow.is_main_process)
LISTED = "\n".join(FAULTS.values())
KEEP = config.get("keep")

for path in Path(PARAMS).rglob("[!.]*"):
    if path.suffix.lower() in (".yml", ".yaml") and path.suffix != ".yaml":
        logger.warning(f"{path} is not read, as params files end in .yaml; rename it.")

if FAULTS and not KEEP:
    sys.exit(
        f"Nothing has run, for these params files cannot be used:\n{LISTED}\n"
        "`KEEP=1 make ...` (`snakemake --config keep=1`) runs the others."
    )


def files(folder):
    """The params files in a folder."""
    return sorted(Path(folder).glob("[!.]*.yaml"))  # with a dot before it, a file is an editor's


def names(folder):
    """Those that can be used, by name."""
    return [path.stem for path in files(folder) if str(path) not in FAULTS]


def params_of(name):
    """What a params file says."""
    return yaml.safe_load(Path(PARAMS, f"{name}.yaml").read_text(encoding="utf-8"))


# A task with a study of every coupling can have them compared, and one with a study of every
# reading of its network these. The studies that stand in such a comparison alone, and those of
# clients unlike each other, are left out of `study`.
OTHERS = [f"-{coupling}" for coupling in COUPLINGS]
SKEWED = "-skewed"


def with_all(studies, others):
    """The studies that have all of these beside them."""
    return [s for s in studies if {f"{s}{other}" for other in others} <= set(studies)]


# What stands beside what does not hang on which of them can be used.
ALL, LAID = names(PARAMS), [file.stem for file in files(PARAMS)]
COMPARED, READ = with_all(ALL, ["-null", *OTHERS]), with_all(ALL, READINGS)
BESIDE = {f"{s}{other}" for s in with_all(LAID, ["-null", *OTHERS]) for other in OTHERS}
BESIDE |= {f"{s}{other}" for s in with_all(LAID, READINGS) for other in BUT_DEFAULT}
STUDIES = [s for s in ALL if s not in BESIDE and not s.endswith(SKEWED)]
SHARING = [s for s in ALL if s not in BESIDE and not s.endswith("-null")]

if not STUDIES and not FAULTS:
    raise WorkflowError(f"{PARAMS} holds no studies; try SCALE=quick or SCALE=paper")


def of_study(*files):
    """Files in a study's folder."""
    return [f"{STUDY}/{file}" for file in files]


# Paths are quoted (:q), and the project's folder is the shell's to name: a notebook takes relative
# paths for the project's own, and where the project lies is no reason to run anything again.
IN_PARAMS = f'"$PWD"/{shlex.quote(PARAMS)}'


def part(command, params, more):
    """What `python -m fedmi` is called with for a job of its own."""
    return (
        f"python -m fedmi {command} {IN_PARAMS}/{params}.yaml {more}"
        f' --results "$PWD"/results > {{log:q}} 2>&1'
    )


def run(notebook, params="{wildcards.study:q}"):
    """The command that runs a notebook on a params file, whose figures are drawn in its cells."""
    return (
        f"env -u MPLBACKEND papermill notebooks/{notebook}.ipynb {{log.notebook:q}} --kernel python3"
        " --no-progress-bar --log-output"
        f' -r study {IN_PARAMS}/{params}.yaml -r results_folder "$PWD"/results'
        " > {log.text:q} 2>&1"
    )


def words(notebook):
    """A notebook's name, as a run says it."""
    return notebook.replace("_", " ")


def logs(folder, notebook):
    """Where a run leaves the executed notebook, and what it printed."""
    return dict(notebook=f"{folder}/{notebook}.ipynb", text=f"{folder}/{notebook}.log")


def drawn_of(names, below="", of=RESULTS):
    """What is written last of all that is drawn of these."""
    return [f"{of}/{name}/{below}figures.json" for name in names]


def several_blocks(study):
    """How many blocks a study has, 0 where its notebooks do all by themselves."""
    blocks = (params_of(study) or {}).get("blocks", 1)
    return blocks if blocks > 1 else 0


def sampled_parts(wildcards):
    """The blocks of a study that has several."""
    return [f"{STUDY}/blocks/{part}.json" for part in range(several_blocks(wildcards.study))]


def estimated_parts(wildcards):
    """The checkpoints of a study of several blocks."""
    several = several_blocks(wildcards.study)
    checkpoints = params_of(wildcards.study)["checkpoints"] if several else []
    return [f"{STUDY}/mi/{iteration}.json" for iteration in checkpoints]


def followed(wildcards):
    """What is needed of a study, and of all that it is compared with."""
    if wildcards.follow_up == "couplings":
        return drawn_of([f"{wildcards.study}{other}" for other in ("", "-null", *OTHERS)])
    if wildcards.follow_up == "readings":
        return drawn_of([f"{wildcards.study}{other}" for other in READINGS])
    return f"{STUDY}/manifest.json"


def measured(wildcards):
    """All points of a multiverse."""
    if wildcards.kind != "choices":
        return []
    groups = CHOICES.get(wildcards.name, {}).values()
    folder = f"{RESULTS}/choices/{wildcards.name}"
    return [f"{folder}/points/{point}.json" for group in groups for point in group]


def group_of(wildcards):
    """The group that a point is sampled with."""
    groups = CHOICES.get(wildcards.name, {})
    found = [group for group, points in groups.items() if wildcards.point in points]
    return [f"{RESULTS}/choices/{wildcards.name}/groups/{group}.json" for group in found]
