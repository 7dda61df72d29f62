"""Expressions of PromQL that several panels share."""

import re

RATE = "$__rate_interval"
"""Grafana replaces it by a time window with at least four scrapes."""

_SELECTOR = re.compile(r"\b(recmesh_\w+|ALERTS)(?:\{([^}]*)\})?")


def scoped(expression: str) -> str:
    """Restrict each metric of recmesh to the namespaces that the dashboard shows."""

    def restrict(match: re.Match[str]) -> str:
        matchers = ", ".join(filter(None, (match[2], 'namespace=~"$namespace"')))
        return f"{match[1]}{{{matchers}}}"

    return _SELECTOR.sub(restrict, expression)


def rate(counter: str, by: str = "", over: str = RATE) -> str:
    """Events per second.

    Args:
        counter: A selector.
        by: Labels to keep, separated by commas.
        over: The time window.
    """
    return f"sum{_by(by)}(rate({counter}[{over}]))"


def mean(histogram: str, matchers: str = "", by: str = "", over: str = RATE) -> str:
    """The mean of the observations of a histogram."""
    parts = (rate(f"{histogram}_{part}{_braces(matchers)}", by, over) for part in ("sum", "count"))
    return " / ".join(parts)


def quantile(share: float, histogram: str, matchers: str = "", by: str = "", over: str = RATE) -> str:
    """A quantile of the observations of a histogram."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket{_braces(matchers)}', labels, over)})"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""


def _braces(matchers: str) -> str:
    return f"{{{matchers}}}" if matchers else ""
