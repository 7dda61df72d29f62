"""The command line of client.py: arguments to requests, answers to text, errors to exit codes."""

import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn, TypeAlias

import typer
import uvloop
from google.protobuf import text_format
from google.protobuf.message import Message

from recmesh.cli import arguments
from recmesh.cli.home import adopt_settings
from recmesh.cli.legacy import LEGACY_RANK
from recmesh.client import (
    AS,
    CM,
    DEFAULT_TIMEOUT,
    DELETE_USER,
    PUT_ITEMS,
    PUT_USERS,
    RANK,
    RECALL,
    RECORD_ACTIONS,
    REMOVE_ITEMS,
    SET_AVAILABILITY,
    UM,
    Action,
    History,
    InvalidRequest,
    Item,
    Mesh,
    Method,
    RecmeshError,
    Request,
    Response,
    ServiceName,
    Targets,
    User,
    check_answer,
    wire,
)
from recmesh.contract import BASKET, MAX_RECOMMENDATIONS, RELATED, USER_FIELDS
from recmesh.errors import SettingsError
from recmesh.filters import to_message
from recmesh.pb import as_pb2, cm_pb2, feed_pb2, filter_pb2, recall_pb2, um_pb2

Printer: TypeAlias = Callable[[Message], None]

_PROGRAM = "client.py"
_INTERRUPTED = 130
_BATCH_TIMEOUT = 30.0
_FIELDS = "age sex city_level province city district"

app = typer.Typer(
    cls=arguments.Group,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Query a running mesh, and tell it what users do. A service is looked for at RECMESH_<SERVICE>_TARGET, else "
    "at 127.0.0.1 and its standard port.",
    epilog="Exit codes: 0 answered, 1 other error, 2 wrong usage, 3 unusable file, 5 request violates the contract, "
    "6 service unreachable or overloaded, 7 no answer in time, 8 the answer reports a failure, 9 not allowed.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of protobuf text.")]
AsTable = Annotated[bool, typer.Option("--table", help="Print a table instead of protobuf text.")]
Target = Annotated[str, typer.Option(metavar="HOST:PORT", help="Target of the service, instead of the environment's.")]
Timeout = Annotated[
    float, typer.Option(parser=arguments.seconds, metavar="SECONDS", help="For each call, retries included.")
]
NewOnly = Annotated[bool, typer.Option("--new-only", help="Leave out items that the user has acted on.")]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="CONDITION",
        help="Only such items: cate=12,13 or cate!=5 or price>=3 or price<=9 or price=3..9; may be repeated.",
    ),
]
Concurrency = Annotated[int, typer.Option(parser=arguments.count, metavar="N", help="Requests in flight.")]
Size = Annotated[
    int | None, typer.Option(parser=arguments.size, metavar="N", help=f"Number of items, 1 to {MAX_RECOMMENDATIONS}.")
]
UserId = Annotated[str, typer.Argument(metavar="USER_ID")]
SkuIds = Annotated[list[str], typer.Argument(metavar="SKU_ID", help="Separated by commas or spaces.")]

_command = partial(app.command, cls=arguments.Command, context_settings=arguments.CONTEXT)


@_command()
def um(
    user_id: UserId,
    as_json: AsJson = False,
    as_table: AsTable = False,
    target: Target = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the stored profile and history of a user."""
    show = _printer(as_json, as_table)
    _run(_single(UM, um_pb2.UserModelRequest(user_id=user_id), _mesh("um", target, timeout), show))


@_command()
def cm(
    sku_ids: SkuIds,
    as_json: AsJson = False,
    as_table: AsTable = False,
    target: Target = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print items."""
    show = _printer(as_json, as_table)
    request = cm_pb2.CMRequest(item_ids=arguments.ids(sku_ids))
    _run(_single(CM, request, _mesh("cm", target, timeout), show))


@_command()
def recall(
    user_id: UserId,
    size: Annotated[
        int, typer.Option(parser=arguments.candidates, metavar="N", help="Number of candidates; 0: the default, 100.")
    ] = 0,
    channel: Annotated[str, typer.Option(help="Query one channel, such as two_tower, instead of all.")] = "",
    new_only: NewOnly = False,
    conditions: Filter = None,
    as_json: AsJson = False,
    as_table: AsTable = False,
    target: Target = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print candidates for a known user. um is asked first, at its own target, for profile and history."""
    show = _printer(as_json, as_table)
    request = recall_pb2.RecallRequest(
        request_num=size, recall_type=channel, new_only=new_only, filter=_filter(conditions)
    )
    _run(_recall(user_id, request, _mesh("recall", target, timeout), show))


@_command()
def rank(
    as_json: AsJson = False, as_table: AsTable = False, target: Target = "", timeout: Timeout = DEFAULT_TIMEOUT
) -> None:
    """Print the score of one built-in user and item, to check that the ranker answers."""
    show = _printer(as_json, as_table)
    _run(_single(RANK, LEGACY_RANK, _mesh("rank", target, timeout), show))


@_command("as", epilog=f"The fields of a new user, in this order: {_FIELDS}.")
def recommend(
    user: Annotated[
        list[str] | None,
        typer.Argument(metavar="[USER]", help="A user id, or the six fields of a new user; nothing for a guest."),
    ] = None,
    size: Size = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="SKU_ID[,...]", help="Items to leave out; may be repeated.")
    ] = None,
    new_only: NewOnly = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the channels and features that brought each item into the list.")
    ] = False,
    why_not: Annotated[
        list[str] | None,
        typer.Option("--why-not", metavar="SKU_ID[,...]", help="Print why these items are not in the list."),
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(metavar="SKU_ID[,...]", help="Items of a guest's history, newest first, instead of a stored one."),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="A field of the profile; overrides a stored one. May be repeated."),
    ] = None,
    conditions: Filter = None,
    scenario: Annotated[
        str, typer.Option(help="What the list is for: home, repeat or trending; see also similar and basket.")
    ] = "",
    as_json: AsJson = False,
    as_table: AsTable = False,
    target: Target = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print recommendations for a known user (an id), a new one (six fields, or --profile) or a guest (--history)."""
    show = _printer(as_json, as_table)
    if not (user or profile or history or scenario):
        raise SettingsError("as needs a user id, the six fields of a new user, --profile, --history or --scenario")
    user_id, fields = _user(user or ())
    fields |= dict(map(arguments.field, profile or ()))
    request = as_pb2.ASRequest(
        user_id=user_id,
        user_info=wire.user_info(user_id, fields) if fields else None,
        size=size or 0,
        exclude_ids=arguments.ids(exclude or ()),
        new_only=new_only,
        explain=explain,
        history=wire.history_message(History(tuple(arguments.ids(history)))) if history else None,
        explain_missing=arguments.ids(why_not or ()),
        scenario=scenario,
        filter=_filter(conditions),
    )
    _run(_single(AS, request, _mesh("as", target, timeout), show))


def _user(given: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The id and the profile of a user on the command line.

    Raises:
        SettingsError: These are neither one id nor six fields.
    """
    if len(given) in (0, 1):
        return "".join(given), {}
    if len(given) == len(USER_FIELDS):
        return "", dict(zip(USER_FIELDS, given, strict=True))
    raise SettingsError(f"as takes one user id, or the six fields of a new user ({_FIELDS}); {len(given)} were given")


@_command()
def similar(
    sku_id: Annotated[str, typer.Argument(metavar="SKU_ID")],
    size: Size = None,
    as_json: AsJson = False,
    as_table: AsTable = False,
    target: Target = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the items that users act on after an item."""
    show = _printer(as_json, as_table)
    request = as_pb2.ASRequest(scenario=RELATED, context_ids=[sku_id], size=size or 0)
    _run(_single(AS, request, _mesh("as", target, timeout), show))


@_command()
def basket(
    sku_ids: SkuIds,
    size: Size = None,
    as_json: AsJson = False,
    as_table: AsTable = False,
    target: Target = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the items that complete a basket."""
    show = _printer(as_json, as_table)
    request = as_pb2.ASRequest(scenario=BASKET, context_ids=arguments.ids(sku_ids), size=size or 0)
    _run(_single(AS, request, _mesh("as", target, timeout), show))


@_command()
def record(
    user_id: UserId,
    sku_id: Annotated[str, typer.Argument(metavar="SKU_ID")],
    action_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Such as order; default: the type with the greatest weight.")
    ] = "",
    value: Annotated[
        float | None, typer.Option(parser=arguments.number, metavar="VALUE", help="Rating or amount; default: 1.")
    ] = None,
    time: Annotated[
        int | None,
        typer.Option(
            parser=arguments.time,
            metavar="TIME",
            help="ISO 8601, or milliseconds since 1970; default: the time of arrival.",
        ),
    ] = None,
    as_json: AsJson = False,
    target: Target = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Record what a user did with an item."""
    (request,) = wire.record_requests([Action(user_id, sku_id, time, action_type, value)])
    _run(_change(RECORD_ACTIONS, request, [f"{user_id} {sku_id}"], _mesh("feed", target, timeout), _printer(as_json)))


@_command()
def put(
    kind: Annotated[str, typer.Argument(parser=arguments.kind, metavar="item|user")],
    identity: Annotated[str, typer.Argument(metavar="ID")],
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE", help="New values of fields. An empty value removes the field."),
    ] = None,
    as_json: AsJson = False,
    target: Target = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Create an item or a user, or change its fields. Other fields keep their values."""
    given, mesh, show = dict(map(arguments.field, fields or ())), _mesh("feed", target, timeout), _printer(as_json)
    if kind == "item":
        (items,) = wire.put_items_requests([Item(identity, given)])
        _run(_change(PUT_ITEMS, items, [identity], mesh, show))
    (users,) = wire.put_users_requests([User(identity, given)])
    _run(_change(PUT_USERS, users, [identity], mesh, show))


@_command()
def remove(sku_ids: SkuIds, as_json: AsJson = False, target: Target = "", timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """Remove items from all answers and from the catalogues of later trainings."""
    removed = arguments.ids(sku_ids)
    request = feed_pb2.RemoveItemsRequest(sku_ids=removed)
    _run(_change(REMOVE_ITEMS, request, removed, _mesh("feed", target, timeout), _printer(as_json)))


@_command()
def available(
    sku_id: Annotated[str, typer.Argument(metavar="SKU_ID")],
    state: Annotated[str, typer.Argument(parser=arguments.availability, metavar="on|off")],
    as_json: AsJson = False,
    target: Target = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Take an item out of all answers for a while, or bring it back."""
    request = feed_pb2.SetAvailabilityRequest(sku_ids=[sku_id], available=state == "on")
    _run(_change(SET_AVAILABILITY, request, [sku_id], _mesh("feed", target, timeout), _printer(as_json)))


@_command("delete-user")
def delete_user(
    user_id: UserId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    target: Target = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Delete the profile and the history of a user, and keep them out of later trainings. This cannot be undone."""
    if not yes:
        _confirm(f"Delete the profile and the history of user {user_id!r}?")
    request = feed_pb2.DeleteUserRequest(user_id=user_id)
    _run(_change(DELETE_USER, request, [user_id], _mesh("feed", target, timeout), _printer(as_json)))


@_command()
def batch(
    queries: Annotated[Path, typer.Option(metavar="FILE", help="CSV with user_id, profile columns, or both.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="CSV to write: user_id, sku_id, ...; best item first.")],
    size: Annotated[
        int, typer.Option(parser=arguments.size, metavar="N", help=f"Items for each user, 1 to {MAX_RECOMMENDATIONS}.")
    ] = 100,
    new_only: NewOnly = False,
    scores: Annotated[bool, typer.Option("--scores", help="Write the score of each item, too.")] = False,
    fields: Annotated[
        list[str] | None, typer.Option(metavar="FIELD[,...]", help="Item fields to write, such as cate,price.")
    ] = None,
    concurrency: Concurrency = 16,
    target: Target = "",
    timeout: Timeout = _BATCH_TIMEOUT,
) -> None:
    """Write recommendations for every row of a file."""
    from rich.console import Console

    from recmesh.cli.batch import BatchOptions, print_report, run_batch

    options = BatchOptions(queries, out, size, new_only, concurrency, scores, tuple(arguments.ids(fields or ())))

    async def run() -> int:
        console = Console(stderr=True)
        async with _mesh("as", target, timeout, retry_overload=True) as mesh:
            report = await run_batch(mesh, options, console)
        print_report(report, out, console)
        return report.failures[0].error.exit_code if report.failures else 0

    _run(run())


@_command()
def score(
    pairs: Annotated[Path, typer.Option(metavar="FILE", help="CSV with user_id and sku_id.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="CSV to write: user_id, sku_id, score.")],
    users: Annotated[Path | None, typer.Option(metavar="FILE", help="CSV with user_id and profile columns.")] = None,
    by: Annotated[
        str,
        typer.Option(
            parser=arguments.score,
            metavar="debiased|list",
            help="debiased: how much more the user is drawn to the item than its popularity suggests; "
            "list: the score that orders the user's list.",
        ),
    ] = "debiased",
    new_only: Annotated[bool, typer.Option("--new-only", help="The items are new to the users.")] = False,
    concurrency: Concurrency = 16,
    target: Target = "",
    timeout: Timeout = _BATCH_TIMEOUT,
) -> None:
    """Score the (user, item) pairs of a file."""
    from rich.console import Console

    from recmesh.cli.score import ScoreOptions, print_report, run_score

    options = ScoreOptions(pairs, out, users, by == "debiased", new_only, concurrency)

    async def run() -> int:
        console = Console(stderr=True)
        async with _mesh("rank", target, timeout, retry_overload=True) as mesh:
            report = await run_score(mesh, options, console)
        print_report(report, out, console)
        return 1 if report.unscored else 0

    _run(run())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The command line without the name of the program; None means `sys.argv`.

    Returns:
        The exit code.
    """
    try:
        adopt_settings()
        # Commands end with typer.Exit, whose code is returned here.
        code: int = app(argv, prog_name=_PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else _PROGRAM
        message = " ".join(error.format_message().split()).rstrip(".")
        print(f"{command}: {message}; see {command} --help", file=sys.stderr)
        return error.exit_code
    except RecmeshError as error:
        return _fail(str(error), error.exit_code)
    return code


def _run(command: Coroutine[None, None, int]) -> NoReturn:
    try:
        code = uvloop.run(command)
    except RecmeshError as error:
        code = _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe has seen enough.
        sys.stderr.close()
        code = 0
    except OSError as error:
        code = _fail(str(error), RecmeshError.exit_code)
    except KeyboardInterrupt:
        code = _fail("interrupted", _INTERRUPTED)
    raise typer.Exit(code)


def _fail(message: str, code: int) -> int:
    print(f"{_PROGRAM}: {message}", file=sys.stderr)
    return code


async def _recall(user_id: str, request: recall_pb2.RecallRequest, mesh: Mesh, show: Printer) -> int:
    async with mesh:
        known = await mesh.call(UM, um_pb2.UserModelRequest(user_id=user_id))
        check_answer(UM, known)
        request.user_info.CopyFrom(known.user_info)
        request.history.CopyFrom(known.history)
        return await _single(RECALL, request, mesh, show)


async def _single(method: Method[Request, Response], request: Request, mesh: Mesh, show: Printer) -> int:
    async with mesh:
        response = await mesh.call(method, request)
    show(response)
    check_answer(method, response)
    return 0


async def _change(
    method: Method[Request, feed_pb2.FeedResponse], request: Request, names: Sequence[str], mesh: Mesh, show: Printer
) -> int:
    """Send a request to feed. `names` are its entries, for messages about those that were rejected."""
    async with mesh:
        response = await mesh.call(method, request)
    show(response)
    check_answer(method, response)
    if response.rejected:
        raise InvalidRequest("; ".join(f"{names[entry.position]}: {entry.reason}" for entry in response.rejected))
    return 0


def _filter(texts: Sequence[str] | None) -> filter_pb2.Filter | None:
    return to_message(map(arguments.condition, texts or ()))


def _confirm(question: str) -> None:
    """Ask on the terminal.

    Raises:
        SettingsError: There is no terminal.
        RecmeshError: The answer is not yes.
    """
    if not sys.stdin.isatty():
        raise SettingsError("there is no terminal to ask for confirmation; add --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RecmeshError("nothing was changed")


def _printer(as_json: bool, as_table: bool = False) -> Printer:
    if as_json and as_table:
        raise SettingsError("--json and --table exclude each other")
    if as_json:
        return _print_json
    return _print_table if as_table else _print_text


def _print_text(response: Message) -> None:
    print(text_format.MessageToString(response, as_utf8=True), end="")


def _print_json(response: Message) -> None:
    from google.protobuf.json_format import MessageToJson

    print(MessageToJson(response, preserving_proto_field_name=True, ensure_ascii=False))


def _print_table(response: Message) -> None:
    from rich.console import Console

    from recmesh.cli.tables import as_table

    as_table(response, Console())


def _mesh(service: ServiceName, target: str, timeout: float, *, retry_overload: bool = False) -> Mesh:
    targets = Targets.from_environment()
    if target:
        targets = targets.having(service, target)
    return Mesh(targets, timeout=timeout, retry_overload=retry_overload)
