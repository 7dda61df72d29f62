"""The Jinja environment of a page."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recmesh.pages.plots import bar, columns


def environment(templates: Path) -> Environment:
    """Return an environment for the templates in a folder.

    They may extend `document.html.j2`, which has the blocks `title`, `style` (optional) and `body`, and import from
    `tables.html.j2`.
    """
    made = Environment(
        loader=FileSystemLoader([templates, Path(__file__).with_name("templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(bar=bar, columns=columns)
    made.filters.update(count="{:,}".format, percent=_percent)
    return made


def _percent(share: float, digits: int) -> str:
    return f"{share:.{digits}%}"
