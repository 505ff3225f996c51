# What a run says: which step of which study starts, what it logs to, how it ends, how many are left.

import logging
import time

from snakemake_interface_logger_plugins.common import LogEvent

TAIL = 40  # lines of a failed step's log


def lasted(since):
    """How long ago that was, in words."""
    minutes, seconds = divmod(round(time.monotonic() - since), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def tail(path):
    """The last lines of a log, indented."""
    try:
        with open(path, errors="replace") as log:
            return [f"    {line.rstrip()}" for line in log.readlines()[-TAIL:]]
    except OSError:
        return ["    (there is none)"]


class Steps(logging.Handler):
    """Prints a line where a step starts and where it ends, and what a failed one left."""

    # What Snakemake says of the same, in words of its own.
    INSTEAD_OF = {
        LogEvent.JOB_INFO,
        LogEvent.JOB_STARTED,
        LogEvent.JOB_FINISHED,
        LogEvent.JOB_ERROR,
        LogEvent.PROGRESS,
        LogEvent.RESOURCES_INFO,
    }

    def __init__(self):
        super().__init__()
        self.total, self.done, self.started, self.failed = 0, 0, {}, {}
        self.since = time.monotonic()

    def emit(self, record):
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            rules = record.stats.keys() - TARGETS.keys() - {"total"}
            self.total = sum(record.stats[rule] for rule in rules)
        elif event == LogEvent.JOB_INFO and record.rule_msg:
            number = self.started.get(record.jobid, (len(self.started) + 1,))[0]
            self.started[record.jobid] = number, record.rule_msg, time.monotonic()
            log = ", ".join(path for path in record.log if not path.endswith(".ipynb"))
            self.say(f"[{number}/{self.total}] {record.rule_msg} ... (log {log})")
        elif event == LogEvent.JOB_FINISHED and record.job_id in self.started:
            self.failed.pop(record.job_id, None)  # where it was tried again
            self.done += 1
            self.say(self.end(record.job_id, "done"))
        elif event == LogEvent.JOB_ERROR and record.jobid in self.started:
            self.failed[record.jobid] = record.log
            self.say(self.end(record.jobid, "FAILED"))
            self.say("\n".join(left_by(record)))

    def end(self, job, how):
        """The line of a step that has ended."""
        number, what, since = self.started[job]
        left = self.total - self.done - len(self.failed)
        return f"[{number}/{self.total}] {what}: {how} in {lasted(since)}, {left} left"

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def summary(self):
        """How many steps were done, which failed, and how many did not run for these."""
        self.say(f"{self.done} of {self.total} steps done in {lasted(self.since)}")
        for job, logs in self.failed.items():
            self.say(f"FAILED: {self.started[job][1]} (see {', '.join(logs)})")
        left = self.total - self.done - len(self.failed)
        if self.failed and left:
            self.say(f"Not run, as they need what failed: {left}")


def left_by(record):
    """What a failed step left: how its logs end, and its notebook."""
    if record.rule_msg:
        yield f"  {record.rule_msg}"
    copies = [path for path in record.log if path.endswith(".ipynb") and Path(path).exists()]
    if copies:  # of several that run one after another, the last one failed
        copy = max(copies, key=lambda path: Path(path).stat().st_mtime)
        yield f"  The notebook failed. Its executed copy, with the error in it: {copy}"
    for path in record.log:
        if not path.endswith(".ipynb"):
            yield f"  The end of {path}:"
            yield from tail(path)


def is_said(record):
    """Whether Snakemake prints what it logs, where steps are printed."""
    if getattr(record, "event", None) in Steps.INSTEAD_OF:
        return False
    # That a command failed is said with what it left; which one is started next, by its start.
    return not any(
        words in str(record.msg) for words in ("CalledProcessError", "Select jobs to execute...")
    )


steps = Steps()

if workflow.is_main_process:
    for handler in logger.handlers:
        handler.addFilter(is_said)
    logger.addHandler(steps)
