"""The check of a data set: facts about it, what deserves attention, and what it can carry.

`check` returns a `Check`, which can be JSON, text for a terminal (`shown`) or an HTML page (`page`).
"""

from recmesh.profiling.checking import check
from recmesh.profiling.model import Check, Finding, Profile
from recmesh.profiling.page import page
from recmesh.profiling.profile import profile
from recmesh.profiling.terminal import shown

__all__ = ["Check", "Finding", "Profile", "check", "page", "profile", "shown"]
