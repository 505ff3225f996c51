import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fedmi import progress


def test_how_long_compiling_took_is_told_where_it_is_long(capsys, monkeypatch):
    with progress.compiling("sampling"):
        pass
    assert not capsys.readouterr().err
    monkeypatch.setattr(progress, "SECONDS_UNSAID", 0.05)
    with progress.compiling("sampling"):
        time.sleep(0.5)
        assert capsys.readouterr() == ("", "sampling: compiling, once\n")
    assert "sampling: compiled after 0." in capsys.readouterr().err


def test_what_does_not_listen_to_an_interrupt_is_not_waited_for():
    assert progress.interruptible(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        progress.interruptible(lambda: 1 / 0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a batch may ignore it
    stop = threading.Event()
    threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        progress.interruptible(stop.wait)
    signal.signal(signal.SIGINT, before)
    stop.set()


def test_nobody_watches_a_batch():
    command = "from fedmi.progress import is_watched; print(is_watched())"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.stdout == "False\n"


WHERE = "import fedmi, jax; print(jax.config.jax_compilation_cache_dir)"


@pytest.mark.parametrize("code", [WHERE, f"import jax; {WHERE}"])
def test_programs_are_kept_in_the_cache_unless_they_are_kept_elsewhere(code, tmp_path):
    def folder(**settings):
        unset = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=unset | settings, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert folder(FEDMI_CACHE=str(tmp_path)).startswith(f"{tmp_path}/jax/")
    assert folder(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own")) == str(tmp_path / "own")
