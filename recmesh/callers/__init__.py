"""Callers: who they are, what they may call, and how much.

`recmesh.serving.callers` applies all of it to calls. Nothing here knows gRPC.
"""

from recmesh.callers.policy import (
    ANY,
    DEFAULT_POLICY,
    MAX_POLICY_BYTES,
    METHODS,
    METRICS,
    OTHER,
    PLAIN,
    REFLECTION,
    NamedCaller,
    Policy,
    Rate,
)
from recmesh.callers.rates import Bucket
from recmesh.callers.tokens import MAX_TOKENS_BYTES, StaticTokens

__all__ = [
    "ANY",
    "DEFAULT_POLICY",
    "MAX_POLICY_BYTES",
    "MAX_TOKENS_BYTES",
    "METHODS",
    "METRICS",
    "OTHER",
    "PLAIN",
    "REFLECTION",
    "Bucket",
    "NamedCaller",
    "Policy",
    "Rate",
    "StaticTokens",
]
