"""Pages of metrics ports, written by hand."""

from collections.abc import Mapping

from recmesh.cli.top.scrape import Page, Scrape, Target, parse


def page(seconds: float, text: str) -> Page:
    """A page that was read at a time."""
    return Page(seconds, parse(text))


def scraped(address: str, found: Page | str, service: str = "") -> Scrape:
    """A target that has answered with a page, or not for a reason."""
    target = Target(address, service)
    return Scrape(target, None, found) if isinstance(found, str) else Scrape(target, found)


def histogram(name: str, labels: str, buckets: Mapping[str, int]) -> str:
    """The lines of a histogram with cumulative counts by upper bound; the last bound is +Inf."""
    separator = "," if labels else ""
    lines = [f'{name}_bucket{{{labels}{separator}le="{bound}"}} {count}' for bound, count in buckets.items()]
    total = list(buckets.values())[-1]
    return "\n".join([f"# TYPE {name} histogram", *lines, f"{name}_count{{{labels}}} {total}", ""])
