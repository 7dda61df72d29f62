"""Checks, and what they require of answers."""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from recmesh.cli.verify.faults import Violation
from recmesh.cli.verify.session import Session
from recmesh.client import InvalidRequest, Method, Request, Response
from recmesh.contract import FAILED, OK, ServiceName

Run: TypeAlias = Callable[[Session], Awaitable[None]]
"""Raises `RecmeshError` if the contract is violated, or `Unmet` if that cannot be found out."""


@dataclass(frozen=True, slots=True)
class Check:
    """A promise of a service.

    Attributes:
        service: The service.
        what: The promise, in a few words.
        run: Finds out whether it is kept.
    """

    service: ServiceName
    what: str
    run: Run


class Checks(list[Check]):
    """The checks of a service, in the order in which they are made.

    Example:
        checks = Checks("um")


        @checks.add("an unknown user: error.code 500")
        async def _unknown(session: Session) -> None: ...
    """

    def __init__(self, service: ServiceName) -> None:
        """Begin without checks."""
        super().__init__()
        self._service = service

    def add(self, what: str) -> Callable[[Run], Run]:
        """A decorator that makes a function the next check."""

        def register(run: Run) -> Run:
            self.append(Check(self._service, what, run))
            return run

        return register

    def refuses(
        self, what: str, method: Method[Request, Response], request: Callable[[], Request], naming: object
    ) -> None:
        """Add a check that a request is refused with INVALID_ARGUMENT.

        Args:
            what: What is wrong with the request.
            method: The method.
            request: Makes the request.
            naming: What the message has to contain: the limit, or the field. Commas between digits do not count.
        """

        async def run(session: Session) -> None:
            try:
                answer = await session.call(method, request())
            except InvalidRequest as error:
                text = str(error).partition(InvalidRequest.grpc_status)[2].replace(",", "")
                require(str(naming) in text, f"INVALID_ARGUMENT does not name {naming}: {text.strip(': ')}")
            else:
                raise Violation(f"answered with error.code {answer.error.code} instead of INVALID_ARGUMENT")

        self.append(Check(self._service, f"refuses {what}: INVALID_ARGUMENT", run))


class _Error(Protocol):
    @property
    def code(self) -> int: ...

    @property
    def text(self) -> str: ...


class _Answer(Protocol):
    @property
    def error(self) -> _Error: ...


def require(kept: bool, violation: str) -> None:
    """Check a promise.

    Raises:
        Violation: It is not kept.
    """
    if not kept:
        raise Violation(violation)


def require_equal(name: str, found: object, wanted: object) -> None:
    """Check a value. Raises `Violation` with both values, shortened, if they differ."""
    require(found == wanted, f"{name} is {_short(found)}, not {_short(wanted)}")


def require_ok(answer: _Answer) -> None:
    """Check that an answer reports success. Raises `Violation`."""
    require(answer.error.code == OK, f"error.code is {answer.error.code}, not {OK}: {_one_line(answer.error.text)}")


def require_failed(answer: _Answer, text: str) -> None:
    """Check that an answer reports a failure with the text of the v0 contract. Raises `Violation`."""
    require_equal("error.code", answer.error.code, FAILED)
    require_equal("error.text", answer.error.text, text)


def require_once(ids: Sequence[str]) -> None:
    """Check that no item is there twice. Raises `Violation`."""
    twice = next((sku_id for sku_id in ids if ids.count(sku_id) > 1), None)
    require(twice is None, f"item {twice} is there twice")


def require_without(ids: Iterable[str], unwanted: Iterable[str]) -> None:
    """Check that a list has none of some items. Raises `Violation`."""
    there = sorted(set(ids) & set(unwanted))
    require(not there, f"item {there[:1]} is in the list")


def require_scores(scores: Sequence[float]) -> None:
    """Check that scores are numbers, best first. Raises `Violation`."""
    wrong = next((score for score in scores if not math.isfinite(score)), None)
    require(wrong is None, f"a score is {wrong}")
    require(list(scores) == sorted(scores, reverse=True), "the scores are not in order, best first")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _one_line(text: str) -> str:
    return " ".join(text.split())
