"""Numbers in text. Files and requests are read by one rule, so that a text means the same in both."""

import math
import re

NUMBER = r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*"
"""A number as a regular expression that Python and Polars read alike: ASCII digits, no separators, no `nan`."""

_NUMBER = re.compile(NUMBER)


def parse_number(text: str) -> float:
    """Return the finite number that a text is, and NaN if it is none.

    `float` accepts more: `1_000`, full-width digits, `nan`, `inf`.
    """
    if not _NUMBER.fullmatch(text):
        return math.nan
    number = float(text)
    return number if math.isfinite(number) else math.nan
