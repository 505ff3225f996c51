"""The page of all keys of params files.

python -m fedmi.study.own_study > docs/own-study.md
"""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from fedmi.study import pages
from fedmi.study.params import KINDS, Case, ScaleUp, Study, Training
from fedmi.study.plan import Keys
from fedmi.study.points import Choices, Level
from fedmi.study.settings import Setting

BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
WORDS = {"integer": "a whole number", "number": "a number", "string": "text", "object": "a mapping"}


def page() -> str:
    """The page, as Markdown."""
    kinds: list[tuple[str, str | None, type[Keys]]] = [("A study", Study.__doc__, Study)]
    for folder, kind in KINDS.items():
        doc = f"{kind.__doc__} `make {folder}` runs these files."
        kinds.append((f"`params/<scale>/{folder}/`", doc, kind))
        if kind is ScaleUp:
            kinds.append(("A case of `scale_up/`", Case.__doc__, Case))
        if kind is Training:
            kinds.append(("A setting of `training/`", Setting.__doc__, Setting))
        if kind is Choices:
            kinds.append(("A level of a factor of `choices/`", Level.__doc__, Level))
    told = [dict(title=title, doc=doc, rows=_rows(kind)) for title, doc, kind in kinds]
    return pages.render("own-study", dict(kinds=told))


def _rows(kind: type[Keys]) -> list[dict[str, str]]:
    schema = kind.model_json_schema()["properties"]
    return [
        dict(
            name=name,
            type=_type(schema[name]),
            default=_default(field),
            meaning=" ".join((field.description or "").split()),
        )
        for name, field in kind.model_fields.items()
    ]


def _type(schema: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "anyOf" in schema:
        return ", or ".join(_type(s) for s in schema["anyOf"] if s.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "items" in schema:
        least = f" of at least {schema['minItems']}" if schema.get("minItems", 0) > 1 else ""
        return f"a list{least}, each {_type(schema['items'])}"
    bounds = " and ".join(
        f"{sign} {schema[name]}" for name, sign in BOUNDS.items() if name in schema
    )
    return f"{WORDS[schema.get('type', 'object')]} {bounds}".strip()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    text = yaml.safe_dump(field.default, default_flow_style=True).removesuffix("...\n").strip()
    return "" if field.default is None else f"`{text}`"


if __name__ == "__main__":
    print(page(), end="")
