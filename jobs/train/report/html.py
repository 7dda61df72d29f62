"""A little HTML: text is escaped unless it is `Html` already."""

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Markup that goes out as it is."""

    __slots__ = ()


def text(value: str) -> Html:
    """Markup as it is, anything else escaped."""
    return value if isinstance(value, Html) else Html(escape(value))


def tag(name: str, *content: str, css: str = "") -> Html:
    """An element around its content."""
    attribute = f' class="{css}"' if css else ""
    return Html(f"<{name}{attribute}>{join(content)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Parts after one another."""
    return Html("".join(text(part) for part in parts))


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1, marked: Sequence[int] = (), css: str = ""
) -> Html:
    """A table that scrolls sideways where the page is narrow. The first `left` columns hold text, the others figures;
    the rows numbered in `marked` stand out."""

    def line(kind: str, cells: Sequence[str]) -> Html:
        return join(tag(kind, cell, css="" if k < left else "n") for k, cell in enumerate(cells))

    body = [tag("tr", line("td", cells), css="marked" if number in marked else "") for number, cells in enumerate(rows)]
    whole = tag("table", tag("thead", tag("tr", line("th", head))), tag("tbody", *body), css=css)
    return tag("div", whole, css="scroll")
