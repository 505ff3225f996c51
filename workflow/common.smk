# What the rules are made of: the studies of a scale, the commands, and the files that they come to.

from pathlib import Path

import yaml

HERE = Path.cwd()  # named in full: a notebook takes relative paths for the project's own
SCALE = config.get("scale", "quick")
PARAMS, RESULTS = f"params/{SCALE}", f"results/{SCALE}"
STUDY = f"{RESULTS}/{{study}}"
ENVIRONMENT = "../environment.yml"  # what `--software-deployment-method conda` would use


def names(folder):
    """The params files in a folder, by name."""
    return sorted(path.stem for path in Path(folder).glob("*.yaml"))


def params_of(name):
    """What a params file says."""
    return yaml.safe_load(Path(PARAMS, f"{name}.yaml").read_text())


# A task with a study of every coupling can have them compared. The studies that stand in that
# comparison alone, and those of clients unlike each other, are left out of `study`.
OTHERS = ("-independent", "-shared-source-order", "-shared-init", "-shared-order")
SKEWED = "-skewed"

ALL = names(PARAMS)
COMPARED = [s for s in ALL if {f"{s}{other}" for other in ("-null", *OTHERS)} <= set(ALL)]
BESIDE = {f"{study}{other}" for study in COMPARED for other in OTHERS}
STUDIES = [s for s in ALL if s not in BESIDE and not s.endswith(SKEWED)]
SHARING = [s for s in ALL if s not in BESIDE and not s.endswith("-null")]

if not STUDIES:
    raise WorkflowError(f"{PARAMS} holds no studies; try SCALE=quick or SCALE=paper")


def of_study(*files):
    """Files in a study's folder."""
    return [f"{STUDY}/{file}" for file in files]


def part(module, more):
    """The command of a part of a study that is a job of its own."""
    return (
        f"python -m fedmi.{module} {HERE}/{PARAMS}/{{wildcards.study}}.yaml"
        f" --results {HERE}/results {more} > {{log}} 2>&1 || {{{{ tail {{log}} >&2; exit 1; }}}}"
    )


def run(notebook, params="{wildcards.study}", more=""):
    """The command that runs a notebook on a params file, and says where to look if it fails."""
    return (
        f"papermill notebooks/{notebook}.ipynb {{log.notebook}} --kernel python3"
        " --no-progress-bar --log-output"
        f" -r params '{HERE}/{PARAMS}/{params}.yaml'"
        f" -r results '{HERE}/results' {more}"
        " > {log.text} 2>&1"
        " || {{ tail -n 30 {log.text} >&2;"
        " echo 'The notebook failed. Its executed copy, with the error in it:"
        " {log.notebook}' >&2; exit 1; }}"
    )


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
