"""Certificates and passwords of an installation: what is there, and what has to be written.

`plan` decides, without reading a clock or a store; `run` reads and writes until there is nothing left to do. Kubernetes
(`jobs.secrets`) and a laptop (`local.secrets`) differ only in the store that they pass.
"""

from recmesh.issuing.plan import ROTATIONS, Change, Found, RenderAcl, Rotation, Stored, pending, plan
from recmesh.issuing.runs import Conflict, Store, run
from recmesh.issuing.spec import Identity, Spec

__all__ = [
    "ROTATIONS",
    "Change",
    "Conflict",
    "Found",
    "Identity",
    "RenderAcl",
    "Rotation",
    "Spec",
    "Store",
    "Stored",
    "pending",
    "plan",
    "run",
]
