"""Arguments of client.py: what a command line may hold, and how its values are read."""

import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from recmesh.conditions import Condition
from recmesh.contract import MAX_RECOMMENDATIONS

if TYPE_CHECKING:
    from typer._click.core import (
        Context,  # typer.Context is a subclass of what commands are given
        Parameter,
    )

_VALUE = re.compile(r"-\.?\d|-.* ", re.DOTALL)

_MAX_UINT32 = (1 << 32) - 1

CONTEXT = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
"""Context settings of a `Command`."""


class Command(TyperCommand):
    """A command whose arguments may begin with a dash: ids and fields such as `-1`.

    Negative numbers, and texts with a space, are values everywhere. Other texts that begin with a dash are options,
    unless they follow `--`.

    """

    def get_params(self, ctx: "Context") -> "list[Parameter]":
        """The parameters, which read their values without pydantic."""
        return _without_pydantic(super().get_params(ctx))

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Parse the command line; unknown options are wrong usage."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [*(self._argument(ctx, text) for text in args[:end]), *args[end:]])

    def _argument(self, ctx: "Context", text: str) -> str:
        """A value as it is, or an option under its full name."""
        if len(text) < 2 or not text.startswith("-") or _VALUE.match(text):
            return text
        if text == "-h":
            # Not an option to typer, which would find it within a value such as -1h.
            return "--help"
        name, separator, value = text.partition("=")
        names = {"--help", *(name for parameter in self.params for name in parameter.opts)}
        # An abbreviation will do if it is unique.
        found = [name] if name in names else [full for full in names if name[:2] == "--" and full.startswith(name)]
        if len(found) != 1:
            ctx.fail(f"no such option: {name}; a value that begins with a dash goes after --")
        return f"{found[0]}{separator}{value}"


class Group(TyperGroup):
    """The commands of client.py."""

    def get_params(self, ctx: "Context") -> "list[Parameter]":
        """The parameters, which read their values without pydantic."""
        return _without_pydantic(super().get_params(ctx))


def _without_pydantic(parameters: "list[Parameter]") -> "list[Parameter]":
    """Read values here: typer would import pydantic, which takes a quarter of the time of `client.py um 8888`."""
    for parameter in parameters:
        # A version of typer that does not look here reads the values itself.
        vars(parameter)["_runtime_param"] = _Reader()
    return parameters


class _Reader:
    """Reads the values of parameters that are texts, lists of texts and paths, or have a `parser`."""

    def coerce(self, value: Any, param: Any, ctx: "Context") -> Any:
        kind = param.type_descriptor
        if value is None or isinstance(value, bool):
            return value
        try:
            if kind.parameter_info.parser is not None:
                return kind.parameter_info.parser(value)
        except typer.BadParameter as error:
            error.ctx, error.param = ctx, param
            raise
        return Path(value) if kind.is_path else value


def ids(arguments: Iterable[str]) -> list[str]:
    """The item ids in arguments, each of which may hold several, separated by commas."""
    return [sku_id for argument in arguments for part in argument.split(",") if (sku_id := part.strip())]


# The functions below read the text that a user wrote, or the default of the option.


def size(value: str | int) -> int:
    """Read a number of recommended items."""
    if not _is_number(value) or not 1 <= int(value) <= MAX_RECOMMENDATIONS:
        raise typer.BadParameter(f"{value!r} is not a number from 1 to {MAX_RECOMMENDATIONS}")
    return int(value)


def candidates(value: str | int) -> int:
    """Read a number of candidates; recall checks its upper limit."""
    if not _is_number(value) or int(value) > _MAX_UINT32:
        raise typer.BadParameter(f"{value!r} is not a number from 0 to {_MAX_UINT32}")
    return int(value)


def count(value: str | int) -> int:
    """Read a positive number."""
    if not _is_number(value) or int(value) < 1:
        raise typer.BadParameter(f"{value!r} is not a number from 1 up")
    return int(value)


def seconds(value: str | float) -> float:
    """Read a duration."""
    try:
        duration = float(value)
    except ValueError:
        duration = 0.0
    if not 0 < duration < float("inf"):
        raise typer.BadParameter(f"{value!r} is not a positive number of seconds")
    return duration


def score(value: str) -> str:
    """Read the kind of score, `debiased` or `list`. `affinity`, the name of the former on the wire, works as well."""
    if value not in ("debiased", "affinity", "list"):
        raise typer.BadParameter(f"{value!r} is neither debiased nor list")
    return "debiased" if value == "affinity" else value


def number(value: str) -> float:
    """Read the value of an action."""
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a number") from None


def time(value: str) -> int:
    """Read a time: ISO 8601, in UTC unless it has an offset, or milliseconds since 1970. Returns milliseconds."""
    if _is_number(value):
        return int(value)
    try:
        given = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value))
    except ValueError:
        raise typer.BadParameter(
            f"{value!r} is neither ISO 8601, such as 2026-07-01T12:00:00Z, nor milliseconds since 1970"
        ) from None
    return round((given if given.tzinfo else given.replace(tzinfo=timezone.utc)).timestamp() * 1000)


def availability(value: str) -> str:
    """Read `on` or `off`."""
    if value not in ("on", "off"):
        raise typer.BadParameter(f"{value!r} is neither on nor off")
    return value


def kind(value: str) -> str:
    """Read `item` or `user`."""
    if value not in ("item", "user"):
        raise typer.BadParameter(f"{value!r} is neither item nor user")
    return value


def field(value: str) -> tuple[str, str]:
    """Read `name=value`; the value may be empty, and may contain `=`."""
    name, equals, content = value.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{value!r} is not of the form field=value")
    return name, content


def condition(value: str) -> Condition:
    """Read a condition of a filter."""
    try:
        return Condition.parse(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _is_number(value: str | int) -> bool:
    text = str(value)
    return text.isascii() and text.isdigit()
