"""Why an item is not in a list."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from recmesh.serving.stages import CandidateList, RequestUser, ScoreList

MAX_EXPLAINED = 20
"""The most items in one request whose absence is explained."""

Cause = Literal["listed", "excluded", "context", "unknown", "filter", "history", "rule", "not_proposed", "rank"]


@dataclass(frozen=True, slots=True)
class Missing:
    """Why an item is not in a list.

    Attributes:
        sku_id: The item.
        reason: The first of the chain's steps that left it out.
        text: The same in words, with figures.
    """

    sku_id: str
    reason: Cause
    text: str


@dataclass(frozen=True, slots=True)
class Absence:
    """All that decides about the items of a request.

    Attributes:
        listed: For each item of the list its position, from 1.
        known: The items in question that cm knows.
        filtered: Those of them that do not meet the conditions of the request.
        exclude: The ids that the request excludes.
        context: The items that the scenario refers to.
        ruled_out: The names of the rules that left out items.
        user: The user.
        found: The candidates.
        ranked: The candidates with their scores.
        scores: The scores of the ranked items, and those that items which are no candidates would have, if rank
            answered.
        last: The score of the last item of the list; None if the list is empty.
    """

    listed: Mapping[str, int]
    known: Collection[str]
    filtered: Collection[str]
    exclude: Collection[str]
    context: Collection[str]
    ruled_out: Mapping[str, str]
    user: RequestUser
    found: CandidateList
    ranked: ScoreList
    scores: Mapping[str, float]
    last: float | None

    def explain(self, sku_id: str) -> Missing:
        """Why an item is not in the list, or where it is."""
        if position := self.listed.get(sku_id):
            return Missing(sku_id, "listed", f"at position {position}")
        if sku_id in self.exclude:
            return Missing(sku_id, "excluded", "exclude_ids has it")
        if sku_id in self.context:
            return Missing(sku_id, "context", "context_ids has it")
        if sku_id not in self.known:
            return Missing(sku_id, "unknown", "cm has no such item: it is unknown, removed or not available")
        if sku_id in self.filtered:
            return Missing(sku_id, "filter", "it does not meet the conditions of the filter")
        history = self.user.history
        if self.found.new_only and (sku_id in history.sku_ids or sku_id in history.older_sku_ids):
            return Missing(sku_id, "history", "the user's history has it, and only new items are recommended")
        if rule := self.ruled_out.get(sku_id):
            return Missing(sku_id, "rule", f"the rule {rule!r} leaves it out")
        return self._by_score(sku_id)

    def _by_score(self, sku_id: str) -> Missing:
        end = "" if self.last is None else f"; the last item of the list has {self.last:.4g}"
        if sku_id in (ranked := list(self.ranked.ids)):
            position = ranked.index(sku_id)
            score = f"its score is {self.ranked.scores[position]:.4g}"
            return Missing(sku_id, "rank", f"at place {position + 1:,} of {len(ranked):,} candidates: {score}{end}")
        if sku_id in (found := list(self.found.ids)):
            text = f"recall has it at place {found.index(sku_id) + 1:,}, and the first {len(ranked):,} are ranked"
            return Missing(sku_id, "rank", text)
        score = f": its score would be {self.scores[sku_id]:.4g}{end}" if sku_id in self.scores else ""
        return Missing(sku_id, "not_proposed", f"no channel has it among its best{score}")
