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
CHECK = (
    "import json, sys, fedmi.study.params as p; print('faults', json.dumps(p.faults(sys.argv[1])))"
)


def faults():
    """What is wrong with the params files of the scale, by file."""
    done = subprocess.run([sys.executable, "-c", CHECK, PARAMS], capture_output=True, text=True)
    if done.returncode:
        raise WorkflowError(f"The params files cannot be checked:\n{done.stderr}")
    told = [line for line in done.stdout.splitlines() if line.startswith("faults ")]
    return json.loads(told[-1].removeprefix("faults "))


# Whoever plans checks them; a job that another machine runs has been planned.
FAULTS = faults() if workflow.is_main_process else {}
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


# A task with a study of every coupling can have them compared. The studies that stand in that
# comparison alone, and those of clients unlike each other, are left out of `study`.
OTHERS = ("-independent", "-shared-source-order", "-shared-init", "-shared-order")
SKEWED = "-skewed"


def with_all(studies):
    """The studies that have one of every coupling beside them."""
    return [s for s in studies if {f"{s}{other}" for other in ("-null", *OTHERS)} <= set(studies)]


# What stands beside what does not hang on which of them can be used.
ALL = names(PARAMS)
COMPARED = with_all(ALL)
BESIDE = {f"{s}{other}" for s in with_all([f.stem for f in files(PARAMS)]) for other in OTHERS}
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


def part(module, more):
    """The command of a part of a study that is a job of its own."""
    return (
        f"python -m fedmi {module} {IN_PARAMS}/{{wildcards.study:q}}.yaml"
        f' --results "$PWD"/results {more} > {{log:q}} 2>&1'
    )


def run(notebook, params="{wildcards.study:q}", more=""):
    """The command that runs a notebook on a params file, whose figures are drawn in its cells."""
    return (
        f"env -u MPLBACKEND papermill notebooks/{notebook}.ipynb {{log.notebook:q}} --kernel python3"
        " --no-progress-bar --log-output"
        f' -r params {IN_PARAMS}/{params}.yaml -r results "$PWD"/results {more}'
        " > {log.text:q} 2>&1"
    )


def words(notebook):
    """A notebook's name, as a run says it."""
    return notebook.replace("_", " ")


def logs(folder, notebook):
    """Where a run leaves the executed notebook, and what it printed."""
    return dict(notebook=f"{folder}/{notebook}.ipynb", text=f"{folder}/{notebook}.log")


def of_all(kind):
    """What the params files of a kind come to."""
    return expand(f"{RESULTS}/{kind}/{{task}}/figures.json", task=names(f"{PARAMS}/{kind}"))


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


def swept(wildcards):
    """The tables of all couplings that a sweep names."""
    couplings = params_of(f"sweep/{wildcards.task}")["couplings"]
    return expand(f"{RESULTS}/sweep/{{{{task}}}}/{{coupling}}.csv", coupling=couplings)
