"""From which code results were made: what a page says of it, and what may be published."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedmi.study import pages

Made = Mapping[str, Any]
"""What `fedmi.study.results.made` returned."""


def codes(made: Made) -> list[Mapping[str, Any]]:
    """The code that results were drawn from, and those that their parts were made from."""
    return [made["code"], *made["parts"]]


def commits(made: Iterable[Made]) -> list[str]:
    """The commits that results were made from, each once; "none" where there is no git."""
    return sorted({str(code["commit"] or "none") for of in made for code in codes(of)})


def check(made: Mapping[str, Made | None]) -> None:
    """Refuses to publish what nobody could make again.

    Args:
        made: what -> how it was made.

    Raises:
        ValueError: if anything was made from code that is in no commit, or all of it not from one
            and the same.
    """
    unknown = [name for name, of in made.items() if not of]
    known = {name: of for name, of in made.items() if of}
    dirty = [
        name
        for name, of in known.items()
        if any(code["dirty"] or not code["commit"] for code in codes(of))
    ]
    if unknown or dirty:
        raise ValueError(
            f"code: {', '.join(sorted([*unknown, *dirty]))} was made from files that are in no "
            "commit; commit them, remove these results, and run again what makes them"
        )
    of_commit: dict[str, list[str]] = {}
    for name, of in known.items():
        for commit in commits([of]):
            of_commit.setdefault(commit, []).append(name)
    if len(of_commit) > 1:
        places = "; ".join(f"{commit[:7]} made {names[0]}" for commit, names in of_commit.items())
        raise ValueError(
            f"code: results of {len(of_commit)} commits cannot be published together ({places}); "
            "remove those of the others, and run again what makes them"
        )


def signed(page: str, *made: Made | None) -> str:
    """A page with a last line that says from what it was made.

    Args:
        page: as Markdown.
        *made: how each of its tables was made; None of what was made before that was written down.
    """
    known = [of for of in made if of]
    return f"{page.rstrip()}\n\n{pages.render('made', dict(made=_facts(known)))}"


def _facts(known: Sequence[Made]) -> dict[str, Any] | None:
    if not known:
        return None
    last = max(known, key=lambda of: of["end"])
    return dict(
        last,
        commits=commits(known),
        dirty=any(code["dirty"] for of in known for code in codes(of)),
        params=last["params"] if len(known) == 1 else None,
        seconds=last["seconds"] if len(known) == 1 else None,
    )
