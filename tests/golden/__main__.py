from tests import conftest, golden  # noqa: F401  (the tests' flags, set before JAX is imported)

golden.record()
