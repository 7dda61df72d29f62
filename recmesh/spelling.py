"""Hints for misspelt words in error messages."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` if `known` contains a word close to `word`, else the empty string."""
    known = list(known)
    same = [other for other in known if other.strip().casefold() == word.strip().casefold()]
    near = same or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
