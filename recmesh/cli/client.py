"""The command line of client.py: arguments to requests, answers to text, errors to exit codes."""

import argparse
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn

import uvloop
from google.protobuf import text_format
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console

from recmesh.cli import show as _show
from recmesh.cli.batch import BatchOptions, run_batch
from recmesh.cli.score import ScoreOptions, run_score
from recmesh.client import AS, CM, RANK, RECALL, UM, Mesh, Method, ServiceName, Targets, check_answer, wire
from recmesh.contract import MAX_RECOMMENDATIONS as AS_LIMIT
from recmesh.contract import USER_FIELDS
from recmesh.errors import RecmeshError, SettingsError
from recmesh.pb import as_pb2, cm_pb2, item_info_pb2, rank_pb2, recall_pb2, um_pb2, user_info_pb2

_INTERRUPTED = 130

_EXIT_CODES = """\
exit codes: 0 answered, 1 other error, 2 wrong use, 3 unusable file, 5 request outside the contract,
6 service not there or overloaded, 7 no answer in time, 8 the answer says that it failed"""

# The request that the seed's client sends when `rank` is called bare.
_BARE_RANK = rank_pb2.RankRequest(
    user_info=user_info_pb2.UserInfo(
        user_id="1", age="5.0", sex="1.0", city_level="5.0", province="20.0", city="176.0", country="1933.0"
    ),
    item_infos=[item_info_pb2.ItemInfo(sku_id="1", brand="3456", shopid="6980", cate="70")],
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. -> its exit code."""
    options = _parser().parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace], Coroutine[Any, Any, int]] = options.command
        return uvloop.run(command(options))
    except RecmeshError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe has seen enough.
        sys.stderr.close()
        return 0
    except OSError as error:
        return _fail(str(error), RecmeshError.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)


def _fail(message: str, code: int) -> int:
    print(f"client.py: {message}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(SettingsError.exit_code, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="client.py",
        description="Ask a running mesh. Targets: RECMESH_<SERVICE>_TARGET, else 127.0.0.1 and the standard ports.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="command", required=True, parser_class=_Parser)

    def add(
        name: str, command: Callable[[argparse.Namespace], Coroutine[Any, Any, int]], text: str, **more: Any
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=more.pop("description", text), **more)
        added.set_defaults(command=command)
        return added

    um = add("um", _um, "the stored profile and history of a user")
    um.add_argument("user_id")
    cm = add("cm", _cm, "what items are")
    cm.add_argument("sku_ids", nargs="+", metavar="sku_id", help="one or more, separated by commas or spaces")
    recall = add(
        "recall",
        _recall,
        "candidates for a known user",
        description="Candidates for a known user. um is asked first (at its own target) for profile and history.",
    )
    recall.add_argument("user_id")
    recall.add_argument("--size", type=int, default=0, help="how many, 1 to 1,000 (the service's default: 100)")
    recall.add_argument("--channel", default="", help="one channel alone, as two_tower; without it all, merged")
    recall.add_argument("--new-only", action="store_true", help="nothing that the user already acted on")
    add("rank", _rank, "the score of one built-in user and item: a check that the ranker answers")
    recommend = add(
        "as",
        _as,
        "recommendations for a known user (one id) or a new one (six fields)",
        epilog="fields of a new user, in this order: age sex city_level province city district",
    )
    recommend.add_argument("user", nargs="+", help="a user id, or the six fields of a new user")
    recommend.add_argument(
        "--size", type=_size, default=0, help=f"how many, 1 to {AS_LIMIT} (the service's default: 50)"
    )
    recommend.add_argument("--exclude", action="append", default=[], metavar="SKU_ID[,...]", help="items to leave out")
    recommend.add_argument("--new-only", action="store_true", help="nothing that the user already acted on")
    recommend.add_argument("--explain", action="store_true", help="say which channels gave each item")
    for single in (um, cm, recall, commands.choices["rank"], recommend):
        form = single.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print JSON instead of protobuf text")
        form.add_argument("--table", action="store_true", help="print a table instead of protobuf text")
        single.add_argument("--target", help="host:port of the service, instead of RECMESH_<SERVICE>_TARGET")
        single.add_argument("--timeout", type=_seconds, default=10.0, help="seconds, retries included (default 10)")

    batch = add("batch", _batch, "recommendations for every row of a file, through the running chain")
    batch.add_argument("--queries", type=Path, required=True, help="CSV: user_id and/or profile columns")
    batch.add_argument("--out", type=Path, required=True, help="CSV to write: user_id, sku_id, best first")
    batch.add_argument("--size", type=_size, default=100, help=f"items a user, 1 to {AS_LIMIT} (default 100)")
    batch.add_argument("--target", help="host:port of as, instead of RECMESH_AS_TARGET")
    score = add("score", _score, "how well each pair of a file fits")
    score.add_argument("--pairs", type=Path, required=True, help="CSV: user_id, sku_id")
    score.add_argument("--out", type=Path, required=True, help="CSV to write: user_id, sku_id, score")
    score.add_argument("--users", type=Path, help="CSV of profiles: user_id and profile columns")
    score.add_argument(
        "--by",
        choices=("affinity", "list"),
        default="affinity",
        help="affinity: how much more the user is drawn to the item than its popularity says (default); "
        "list: the score that orders a user's list",
    )
    score.add_argument("--target", help="host:port of rank, instead of RECMESH_RANK_TARGET")
    for many in (batch, score):
        many.add_argument(
            "--new-only", action="store_true", help="the user's own items are left out (score: are not there)"
        )
        many.add_argument("--concurrency", type=_count, default=16, help="requests at a time (default 16)")
        many.add_argument(
            "--timeout", type=_seconds, default=30.0, help="seconds a request, retries included (default 30)"
        )
    return parser


async def _um(options: argparse.Namespace) -> int:
    return await _single(options, UM, um_pb2.UserModelRequest(user_id=options.user_id))


async def _cm(options: argparse.Namespace) -> int:
    return await _single(options, CM, cm_pb2.CMRequest(item_ids=_ids(options.sku_ids)))


async def _recall(options: argparse.Namespace) -> int:
    async with _mesh(options, "recall") as mesh:
        known = await mesh.call(UM, um_pb2.UserModelRequest(user_id=options.user_id))
    check_answer(UM, known)
    request = recall_pb2.RecallRequest(
        user_info=known.user_info,
        history=known.history,
        request_num=options.size,
        recall_type=options.channel,
        new_only=options.new_only,
    )
    return await _single(options, RECALL, request)


async def _rank(options: argparse.Namespace) -> int:
    return await _single(options, RANK, _BARE_RANK)


async def _as(options: argparse.Namespace) -> int:
    request = as_pb2.ASRequest(
        size=options.size,
        exclude_ids=_ids(options.exclude),
        new_only=options.new_only,
        explain=options.explain,
    )
    if len(options.user) == 1:
        request.user_id = options.user[0]
    elif len(options.user) == len(USER_FIELDS):
        profile = dict(zip(USER_FIELDS, options.user, strict=True))
        request.user_info.CopyFrom(wire.user_info("", profile))
    else:
        raise SettingsError(
            f"as takes one user id, or the six fields of a new user (age sex city_level province city district); "
            f"{len(options.user)} were given"
        )
    return await _single(options, AS, request)


async def _single(options: argparse.Namespace, method: Method[Any, Any], request: Message) -> int:
    async with _mesh(options, method.service) as mesh:
        response = await mesh.call(method, request)
    if options.json:
        print(MessageToJson(response, preserving_proto_field_name=True, ensure_ascii=False))
    elif options.table:
        _show.as_table(response, Console())
    else:
        print(text_format.MessageToString(response, as_utf8=True), end="")
    check_answer(method, response)
    return 0


async def _batch(options: argparse.Namespace) -> int:
    console = Console(stderr=True)
    wanted = BatchOptions(options.queries, options.out, options.size, options.new_only, options.concurrency)
    async with _mesh(options, "as", retry_overload=True) as mesh:
        report = await run_batch(mesh, wanted, console)
    _show.batch_report(report, options.out, console)
    return report.failures[0].error.exit_code if report.failures else 0


async def _score(options: argparse.Namespace) -> int:
    console = Console(stderr=True)
    wanted = ScoreOptions(
        options.pairs,
        options.out,
        options.users,
        affinity=options.by == "affinity",
        new_only=options.new_only,
        concurrency=options.concurrency,
    )
    async with _mesh(options, "rank", retry_overload=True) as mesh:
        report = await run_score(mesh, wanted, console)
    _show.score_report(report, options.out, console)
    return 1 if report.unscored else 0


def _mesh(options: argparse.Namespace, service: ServiceName, *, retry_overload: bool = False) -> Mesh:
    targets = Targets.from_environment()
    if options.target:
        targets = targets.having(service, options.target)
    return Mesh(targets, timeout=options.timeout, retry_overload=retry_overload)


def _ids(arguments: Sequence[str]) -> list[str]:
    return [sku_id for argument in arguments for part in argument.split(",") if (sku_id := part.strip())]


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= AS_LIMIT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {AS_LIMIT}")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds
