"""A Slurm cluster of two nodes on this machine: no systemd, no accounting, nothing left behind.

Each node is a `slurmd` of its own name and ports on 127.0.0.1. All of it lives in one folder and
belongs to whoever starts it. What a node may hold is claimed, not measured: one CPU, so that one
job runs on each, and more memory than any job asks for.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
NODES = ("node1", "node2")
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])  # where Debian has daemons

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
# A node that has been silent for so many seconds is down; it is back as soon as it reports.
SlurmdTimeout=10
ReturnToService=2
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=1000000\n"
PARTITION = "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
SRUN = """\
#!/bin/sh
SLURM_CONF={conf} exec {srun} "$@"
"""


def missing():
    """The daemons and commands of Slurm and munge that this machine lacks."""
    return [name for name in (*DAEMONS, "sbatch", "srun") if not shutil.which(name, path=PATH)]


def free_ports(count):
    """Ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(condition, what, *, seconds):
    """Waits for a condition to hold, and fails if it takes longer than so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} seconds"
        time.sleep(0.2)


def processes_with(entry):
    """The processes that have an entry, `NAME=value`, in the environment they were started with."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if entry.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


class Cluster:
    """A running cluster; `stop` ends it and everything that runs on it.

    Args:
        folder: An empty folder for its configuration, keys, sockets, logs and state. Its path is
            short: it holds sockets, whose names may have 107 characters.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.mark = f"FEDMI_TEST_CLUSTER={self.folder}"
        host, (controller, *ports) = socket.gethostname(), free_ports(1 + len(NODES))
        user = subprocess.check_output(["id", "--user", "--name"], text=True).strip()
        self.configuration = self.folder / "slurm.conf"
        self.configuration.write_text(
            CONFIGURATION.format(folder=self.folder, host=host, user=user, controller=controller)
            + "".join(
                NODE.format(name=name, host=host, port=port)
                for name, port in zip(NODES, ports, strict=True)
            )
            + PARTITION
        )
        (self.folder / "state").mkdir()
        # Snakemake's executor takes SLURM_CONF away from the steps of its jobs.
        srun = self.folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(SRUN.format(conf=self.configuration, srun=shutil.which("srun", path=PATH)))
        srun.chmod(0o755)
        self.start()

    @property
    def environment(self):
        """What finds this cluster, beside what this process has."""
        name, value = self.mark.split("=", 1)
        path = f"{self.folder / 'bin'}{os.pathsep}{PATH}"
        return os.environ | {"SLURM_CONF": str(self.configuration), "PATH": path, name: value}

    def run(self, *command):
        """The output of a command of Slurm's."""
        return subprocess.check_output(command, env=self.environment, text=True)

    def start(self):
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        files = {
            "key-file": key,
            "socket": self.folder / "munge.socket",
            "pid-file": self.folder / "munged.pid",
            "log-file": self.folder / "munged.log",
            "seed-file": self.folder / "munged.seed",
        }
        # --force: the folder's own parents, /tmp for one, are writable by all.
        self.spawn("munged", "--foreground", "--force", *(f"--{k}={v}" for k, v in files.items()))
        wait_until(files["socket"].exists, "munged", seconds=20)
        self.spawn("slurmctld", "-D", "-c")
        for name in NODES:
            self.start_node(name)
        wait_until(lambda: all(self.is_up(name) for name in NODES), "two nodes", seconds=60)

    def spawn(self, *command, **more):
        with open(self.folder / f"{command[0]}.out", "ab") as output:
            subprocess.Popen(
                command,
                env=self.environment | more,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
            )

    def start_node(self, name):
        """Starts a node, for the first time or again."""
        # Its job steps, whose parent it is not for long, inherit the mark.
        self.spawn("slurmd", "-D", "-N", name, SLURMD_NODENAME=name)

    def processes_on(self, name):
        """The node's daemon, its job steps, and all that these have started."""
        return sorted({*processes_with(self.mark)} & {*processes_with(f"SLURMD_NODENAME={name}")})

    def kill_node(self, name):
        """Ends a node as a power cut does: its daemon, its job steps and what they run."""
        kill(lambda: self.processes_on(name), signal.SIGKILL)

    def state(self, name):
        """A node's state as Slurm has it, say IDLE, ALLOCATED or DOWN+NOT_RESPONDING."""
        return self.run("sinfo", "--noheader", "-N", "--nodes", name, "--format", "%T").strip()

    def is_up(self, name):
        try:
            return self.state(name) in ("idle", "mixed", "allocated")
        except subprocess.CalledProcessError:  # the controller does not answer yet
            return False

    def jobs(self, **columns):
        """Running jobs, a dictionary each."""

    def stop(self):
        kill(lambda: processes_with(self.mark), signal.SIGKILL)


def kill(processes, how):
    """Sends a signal to processes until there are none; they may still be starting others."""
    def none_left():
        for process in processes():
            try:
                os.kill(process, how)
            except ProcessLookupError:
                continue
        return not processes()

    wait_until(none_left, "killing", seconds=30)
