"""How Sphinx makes the site of what `workflow.make_site` has laid out."""

import re

from pygments.lexers.special import TextLexer

project = "fedmi"
author = "the fedmi developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "fedmi"
html_show_sourcelink = False
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # they were executed by the workflow
suppress_warnings = ["mystnb.unknown_mime_type"]  # progress bars
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings give shapes, which types do not
napoleon_use_ivar = True


def plain(app, what, name, obj, options, lines):
    """Takes bars and stars in docstrings for what they are, outside of code."""
    for i, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`|^\*\w+$|:\w+ .*?:)", line)
        parts[::2] = [re.sub(r"(?<!\\)([|*])", r"\\\1", part) for part in parts[::2]]
        lines[i] = "".join(parts)


def setup(app):
    """Connects the above; GitHub alone draws mermaid's graphs."""
    app.connect("autodoc-process-docstring", plain, priority=100)
    app.add_lexer("mermaid", TextLexer)
