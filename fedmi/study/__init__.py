"""The study of the paper, built on the library: params files, tables, figures and pages."""

from importlib.util import find_spec

EXTRA = ("jinja2", "matplotlib", "mlxtend", "seaborn", "sklearn", "yaml")
"""What the study imports beyond the library's own requirements."""

if missing := [name for name in EXTRA if find_spec(name) is None]:
    raise ModuleNotFoundError(
        f"fedmi.study needs {', '.join(missing)}, which come with the extra `study`: "
        'pip install "fedmi[study]"',
        name=missing[0],
    )
