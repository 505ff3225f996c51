"""What all tests need: caches of their own, and figures drawn nowhere.

Set before JAX is imported; processes that tests start inherit it.
"""

import os
from pathlib import Path

import pytest

# Programs are compiled once for all tests, of this run and later ones, and LeNet is trained once.
CACHE = Path(__file__).parents[1] / ".cache" / "tests"

os.environ["FEDMI_CACHE"] = str(CACHE / "fedmi")
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
os.environ.setdefault("MPLBACKEND", "Agg")

# Tests compile more than they compute: LLVM's last passes take a quarter of the time that compiling
# the recurrent network takes, and it is then no faster at so few seeds. Nor is a program compiled
# faster in parts where every core has tests of its own.
FLAGS = "--xla_backend_optimization_level=1 --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = f"{FLAGS} {os.environ.get('XLA_FLAGS', '')}"

# The workers share the cores already.
os.environ["JAX_NUM_CPU_DEVICES"] = "1"


@pytest.fixture(scope="module")
def quickly_compiled():
    """XLA leaves out most optimizations: for tests that compile much and compute little.

    In the processes that they start as well, so that bytes can be compared.
    """
    import jax

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        jax.config.update("jax_disable_most_optimizations", True)
        yield
    jax.config.update("jax_disable_most_optimizations", False)
