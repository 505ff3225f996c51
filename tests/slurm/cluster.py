"""A Slurm cluster of two nodes on this machine: no systemd, no accounting, nothing left behind.

Each node is a `slurmd` of its own name and port on 127.0.0.1. All of the cluster lies in one
folder and runs as whoever starts it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

NODES = ("node1", "node2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo")
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])  # where Debian has daemons
MARK = "FEDMI_TEST_CLUSTER"  # in the environment of all that belongs to a cluster: its folder

# What a node has is claimed: one CPU, so that it runs one job at a time, and memory for any job.
# One that has been silent for `SlurmdTimeout` seconds is down, and back as soon as it reports.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdTimeout=10
ReturnToService=2
NodeName=DEFAULT CPUs=1 RealMemory=1000000
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node1}
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={node2}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

SRUN = """\
#!/bin/sh
SLURM_CONF={configuration} exec {srun} "$@"
"""


def missing():
    """The programs of Slurm and munge that this machine lacks."""
    return [program for program in PROGRAMS if not shutil.which(program, path=PATH)]


def free_ports(count):
    """Ports of 127.0.0.1 that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(condition, what, *, seconds):
    """What a condition comes to once it holds; fails if it takes longer than so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} seconds"
        time.sleep(0.2)
    return value


def entries(process, what):
    """A process's `cmdline` or `environ`, entry by entry; none if it has ended or is not ours."""
    try:
        return Path("/proc", str(process), what).read_text(errors="replace").split("\0")
    except OSError:
        return []


def command(process):
    """The command of a process, in one line."""
    return " ".join(entries(process, "cmdline"))


def environment(process):
    """The environment that a process was started with."""
    return dict(entry.split("=", 1) for entry in entries(process, "environ") if "=" in entry)


def parent(process):
    """The process that started another; 0 if that has ended."""
    try:
        return int(Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def processes(**variables):
    """The processes that were started with these variables in their environment.

    A slurmstepd writes its title over its environment; it is known by the process it started.
    """
    running = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    found = {each for each in running if variables.items() <= environment(each).items()}
    parents = {parent(each) for each in found}
    return sorted(found | {each for each in parents if command(each).startswith("slurmstepd")})


def kill(**variables):
    """Kills the processes that were started with these variables, until there are none.

    All are stopped first, so that none can tell anyone that another has ended.
    """

    def none_left():
        found = processes(**variables)
        for message in (signal.SIGSTOP, signal.SIGKILL):
            for process in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, message)
        return not found

    wait_until(none_left, "killing", seconds=30)


class Cluster:
    """A cluster, from its `start` to its `stop`.

    Args:
        folder: An empty folder for its configuration, key, sockets, logs and state. Sockets want
            a short path.

    Attributes:
        environment: what a process needs to find the cluster, beside what this one has.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.daemons = []
        configuration = self.folder / "slurm.conf"
        controller, *ports = free_ports(1 + len(NODES))
        configuration.write_text(
            CONFIGURATION.format(
                folder=self.folder,
                host=socket.gethostname(),
                user=subprocess.check_output(["id", "-un"], text=True).strip(),
                controller=controller,
                **dict(zip(NODES, ports, strict=True)),
            )
        )
        # Snakemake's executor takes SLURM_CONF away from the steps that its jobs start.
        srun = self.folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(
            SRUN.format(configuration=configuration, srun=shutil.which("srun", path=PATH))
        )
        srun.chmod(0o755)
        self.environment = {
            MARK: str(self.folder),
            "SLURM_CONF": str(configuration),
            "PATH": f"{srun.parent}{os.pathsep}{PATH}",
        }

    def start(self):
        (self.folder / "state").mkdir()
        key, munge = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self._spawn(
            "munged", "--foreground", f"--key-file={key}", f"--socket={munge}",
            *(f"--{file}-file={self.folder}/munged.{file}" for file in ("pid", "log", "seed")),
            "--force",  # the folder lies in one that all may write to
        )  # fmt: skip
        wait_until(munge.exists, "munged", seconds=20)
        self._spawn("slurmctld", "-D")
        for node in NODES:
            self.start_node(node)

        def ready():
            said = "\n".join(path.read_text() for path in self.folder.glob("*.out"))
            assert all(daemon.poll() is None for daemon in self.daemons), said
            return all(map(self.is_up, NODES))

        wait_until(ready, "a cluster of two nodes", seconds=60)

    def _spawn(self, *daemon, **variables):
        with open(self.folder / f"{daemon[0]}.out", "ab") as output:
            self.daemons.append(
                subprocess.Popen(
                    daemon,
                    cwd=self.folder,
                    env=os.environ | self.environment | variables,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            )

    def start_node(self, node):
        """Starts a node, for the first time or again."""
        # Slurm gives jobs the name of their node by this variable; so the daemon has it too.
        self._spawn("slurmd", "-D", "-N", node, SLURMD_NODENAME=node)

    def kill_node(self, node):
        """Ends a node as a power cut does: its daemon, the steps of its jobs, all they started."""
        kill(**{MARK: str(self.folder)}, SLURMD_NODENAME=node)

    def running_on(self, node):
        """The processes of a node: its daemon, the steps of its jobs, all they started."""
        return processes(**{MARK: str(self.folder)}, SLURMD_NODENAME=node)

    def state(self, node):
        """A node's state as `sinfo` has it, say idle, allocated or down*; a * is a silent one."""
        answer = subprocess.run(
            ["sinfo", "--noheader", "--nodes", node, "--format", "%T"],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
        )
        return answer.stdout.strip()

    def is_up(self, node):
        """Whether a node takes jobs, or would if it had room."""
        return self.state(node) in ("idle", "mixed", "allocated")

    def is_down(self, node):
        """Whether Slurm has given up a node, and the jobs it ran."""
        return self.state(node).startswith("down")

    def stop(self):
        """Ends the cluster, what it runs, and what was started in its environment."""
        kill(**{MARK: str(self.folder)})
        for daemon in self.daemons:
            daemon.wait()
