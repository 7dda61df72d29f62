"""The service level objectives of `as`, for dashboards and alerts."""

AVAILABILITY = 0.999
"""Share of requests that must not fail."""

IN_TIME = 0.99
"""Share of requests that must be answered within `SECONDS`."""

SECONDS = 0.25
"""A bound of the buckets of recmesh_request_seconds."""

# A request that is invalid, or that its caller gave up, is no failure of recmesh. Callers that can wait are refused
# first under load, and try again.
REQUESTS = 'recmesh_requests_total{service="as", caller="online"}'
FAILED = 'recmesh_requests_total{service="as", caller="online", status!~"OK|INVALID_ARGUMENT|CANCELLED"}'
ANSWERS = 'recmesh_requests_total{service="as", status="OK"}'
"""Selectors of the requests of `as`: all that count, those that failed, and those of all callers that were answered."""


def failed_share(over: str, by: str = "") -> str:
    """The share of requests that failed in a time window. Without failures it is 0, without requests NaN."""
    requests = f"sum{by}(rate({REQUESTS}[{over}]))"
    return f"(sum{by}(rate({FAILED}[{over}])) or 0 * {requests}) / {requests}"


def late_share(over: str, by: str = "") -> str:
    """The share of requests that took longer than the objective in a time window."""
    in_time = f'sum{by}(rate(recmesh_request_seconds_bucket{{service="as", le="{SECONDS}"}}[{over}]))'
    return f'1 - {in_time} / sum{by}(rate(recmesh_request_seconds_count{{service="as"}}[{over}]))'
