"""Rules of merchandisers: what a file of rules may hold, and how rules change the order of a list.

`model` reads and checks a file. `ordering` applies rules to ranked items; it needs no service. docs/rules.md describes
both.
"""

from recmesh.rules.model import KINDS, MAX_RULES_BYTES, Rule, RuleSet
from recmesh.rules.ordering import NO_RULES, Ordered, RankedItems, RequestRules

__all__ = [
    "KINDS",
    "MAX_RULES_BYTES",
    "NO_RULES",
    "Ordered",
    "RankedItems",
    "RequestRules",
    "Rule",
    "RuleSet",
]
