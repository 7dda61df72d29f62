"""What `recmesh top` shows, computed from two scrapes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from recmesh.cli.top.scrape import Scrape
from recmesh.cli.top.window import Window
from recmesh.contract import METHOD_PATHS, ServiceName

# In the order in which a request meets them.
_SERVICES: tuple[ServiceName, ...] = ("as", "um", "recall", "rank", "cm", "feed")
_FEED_METHOD = "record_actions"
_STAGES = ("um", "recall", "rank", "cm")

_MEDIAN, _TAIL = 0.5, 0.99

_REQUESTS, _REQUEST_SECONDS = "recmesh_requests_total", "recmesh_request_seconds"
_IN_FLIGHT = "recmesh_requests_in_flight"
_STAGE_SECONDS, _STAGE_FAILURES = "recmesh_stage_seconds", "recmesh_stage_failures_total"
_STORE_SECONDS, _STORE_FAILURES = "recmesh_store_seconds", "recmesh_store_failures_total"
_RANKER_SECONDS, _RANKER_FAILURES = "recmesh_rank_backend_seconds", "recmesh_rank_backend_failures_total"
_DEGRADED = "recmesh_degraded_total"
_ACTIVE, _CREATED = "recmesh_release_active", "recmesh_release_created_timestamp_seconds"


@dataclass(frozen=True)
class Calls:
    """Calls of one kind. Quantities of an interval are None if no process has been read twice.

    Attributes:
        calls: How many ended in the interval.
        per_second: The same in a second.
        failed: Those that failed, in a second, by gRPC status; by the class of the error for the ranker.
        p50_ms: Median of their times in milliseconds; None also without calls. Failed calls of stages, stores and the
            ranker have no times.
        p99_ms: The 99th percentile.
    """

    calls: int | None
    per_second: float | None
    failed: dict[str, float]
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class Requests(Calls):
    """The requests to a method of a service.

    Attributes:
        in_flight: Requests in progress in all processes of the service.
        limit: How many may be.
        shed: Refused before any work, in a second, by reason. They are among the failed ones.
    """

    in_flight: int
    limit: int
    shed: dict[str, float]


@dataclass(frozen=True)
class Answers:
    """What successful answers of `as` lacked. Shares are None without answers.

    Attributes:
        answers: How many there were; None if no process has been read twice.
        degraded: Share of answers by the part that was missing.
        unknown_users: Share of answers for a user id that is not stored.
        empty: Share of answers without items.
    """

    answers: int | None
    degraded: dict[str, float]
    unknown_users: float | None
    empty: float | None


@dataclass(frozen=True)
class ActiveRelease:
    """A release that new requests use.

    Attributes:
        release: Its id.
        services: The services that use it.
        age_seconds: Since it was made; None if its services do not say.
    """

    release: str
    services: list[str]
    age_seconds: float | None


@dataclass(frozen=True)
class Process:
    """A target.

    Attributes:
        target: `host:port`.
        services: The services that the process runs.
        not_serving: Those whose health status is not SERVING.
        loop_lag_ms: Delay of the latest timer on its event loop.
        error: Why it does not answer; empty if it does.
    """

    target: str
    services: list[str]
    not_serving: list[str]
    loop_lag_ms: float | None
    error: str


@dataclass(frozen=True)
class Report:
    """All of it. The names of the fields are those of `--json`.

    Attributes:
        time: When it was made, in UTC.
        seconds: Length of the interval; None if no process has been read twice.
        mode: `compact` if a process runs several services, `services` if each runs one; empty if none answers.
        releases: The active releases; several while services switch.
        services: By service and method, `as as_call`.
        stages: Of the chain, as `as` sees them, by name.
        stores: By store and operation (`redis user`), and `ranker` with its backend.
        answers: Of `as`; None if it does not answer.
        processes: All targets.
    """

    time: str
    seconds: float | None
    mode: str
    releases: list[ActiveRelease]
    services: dict[str, Requests]
    stages: dict[str, Calls]
    stores: dict[str, Calls]
    answers: Answers | None
    processes: list[Process]


def report(before: Sequence[Scrape], after: Sequence[Scrape], now: datetime) -> Report:
    """Compare two scrapes.

    Args:
        before: May be empty; then only quantities of the moment are known.
        after: The later one, of the same targets.
        now: The time, with a time zone.
    """
    window = Window.between(before, after)
    processes = _processes(after)
    running = [process for process in processes if process.services]
    mode = "compact" if any(len(process.services) > 1 for process in running) else "services" if running else ""
    return Report(
        time=now.isoformat(timespec="seconds"),
        seconds=window.seconds,
        mode=mode,
        releases=_releases(window, now),
        services=_services(window),
        stages=_stages(window),
        stores=_stores(window),
        answers=_answers(window.having(_IN_FLIGHT, service="as")),
        processes=processes,
    )


def _services(window: Window) -> dict[str, Requests]:
    called, found = window.values(_REQUESTS, "service", "method"), dict[str, Requests]()
    for service in _served(window):
        # Only feed has several methods: those that were called.
        only = METHOD_PATHS.get(service, METHOD_PATHS[_FEED_METHOD]).rpartition("/")[2]
        methods = [method for name, method in called if name == service] or [only]
        found |= {f"{service} {method}": _requests(window, service, method) for method in methods}
    return found


def _served(window: Window) -> list[ServiceName]:
    found = {service for (service,) in window.values(_IN_FLIGHT, "service")}
    return [service for service in _SERVICES if service in found]


def _requests(window: Window, service: str, method: str) -> Requests:
    window = window.having(_IN_FLIGHT, service=service)
    labels = {"service": service, "method": method}
    by_status = window.by("status", _REQUESTS, **labels)
    return Requests(
        calls=_whole(window.count(_REQUESTS, **labels)),
        per_second=window.per_second(_REQUESTS, **labels),
        failed={status: rate for status, rate in by_status.items() if status != "OK"},
        p50_ms=_milliseconds(window.quantile(_MEDIAN, _REQUEST_SECONDS, **labels)),
        p99_ms=_milliseconds(window.quantile(_TAIL, _REQUEST_SECONDS, **labels)),
        in_flight=int(window.gauge(_IN_FLIGHT, service=service) or 0),
        limit=int(window.gauge("recmesh_requests_limit", service=service) or 0),
        shed=window.by("reason", "recmesh_refused_requests_total", service=service),
    )


def _stages(window: Window) -> dict[str, Calls]:
    found = _by_labels(window, _STAGE_SECONDS, _STAGE_FAILURES, "status", "stage")
    return {stage: found[stage] for stage in _STAGES if stage in found}


def _stores(window: Window) -> dict[str, Calls]:
    stores = _by_labels(window, _STORE_SECONDS, _STORE_FAILURES, "status", "store", "operation")
    rankers = _by_labels(window, _RANKER_SECONDS, _RANKER_FAILURES, "reason", "backend")
    return {**stores, **{f"ranker {backend}": calls for backend, calls in rankers.items()}}


def _by_labels(window: Window, seconds: str, failures: str, cause: str, *labels: str) -> dict[str, Calls]:
    """The calls that a histogram times, by the values of its labels; `cause` is the label of the failures."""
    found = {}
    for values in window.values(f"{seconds}_count", *labels):
        of = dict(zip(labels, values, strict=True))
        found[" ".join(values)] = _calls(window.having(f"{seconds}_count", **of), seconds, failures, cause, **of)
    return found


def _calls(window: Window, seconds: str, failures: str, cause: str, **labels: str) -> Calls:
    succeeded, failed = window.count(f"{seconds}_count", **labels), window.count(failures, **labels)
    rates = window.per_second(f"{seconds}_count", **labels), window.per_second(failures, **labels)
    known = succeeded is not None
    return Calls(
        calls=_whole((succeeded or 0.0) + (failed or 0.0)) if known else None,
        per_second=sum(rate or 0.0 for rate in rates) if known else None,
        failed=window.by(cause, failures, **labels),
        p50_ms=_milliseconds(window.quantile(_MEDIAN, seconds, **labels)),
        p99_ms=_milliseconds(window.quantile(_TAIL, seconds, **labels)),
    )


def _answers(window: Window) -> Answers | None:
    if not window.values(_IN_FLIGHT, "service"):
        return None
    answered = window.count(_REQUESTS, service="as", status="OK")

    def share(name: str, **labels: str) -> float | None:
        return (window.count(name, **labels) or 0.0) / answered if answered else None

    parts = {part: share(_DEGRADED, part=part) for (part,) in window.values(_DEGRADED, "part")}
    return Answers(
        answers=_whole(answered),
        degraded={part: of for part, of in parts.items() if of},
        unknown_users=share("recmesh_unknown_users_total"),
        empty=share("recmesh_empty_answers_total"),
    )


def _releases(window: Window, now: datetime) -> list[ActiveRelease]:
    services: dict[str, list[str]] = {}
    for service, release in window.values(_ACTIVE, "service", "release"):
        if window.gauge(_ACTIVE, service=service, release=release):
            services.setdefault(release, []).append(service)
    return [ActiveRelease(release, names, _age(window, release, now)) for release, names in services.items()]


def _age(window: Window, release: str, now: datetime) -> float | None:
    created = window.highest(_CREATED, release=release)
    return None if created is None else now.timestamp() - created


def _processes(scrapes: Sequence[Scrape]) -> list[Process]:
    windows = {scrape.target: Window.between([], [scrape]) for scrape in scrapes}
    services = {target: _served(window) for target, window in windows.items()}
    answering: set[str] = {service for names in services.values() for service in names}
    return [
        Process(
            target=scrape.target.address,
            services=list(services[scrape.target]),
            not_serving=[
                service
                for (service,) in windows[scrape.target].values("recmesh_serving", "service")
                if not windows[scrape.target].gauge("recmesh_serving", service=service)
            ],
            loop_lag_ms=_milliseconds(windows[scrape.target].gauge("recmesh_event_loop_lag_seconds")),
            error=scrape.error,
        )
        for scrape in scrapes
        if scrape.page or scrape.target.service not in answering
    ]


def _whole(count: float | None) -> int | None:
    return None if count is None else round(count)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
