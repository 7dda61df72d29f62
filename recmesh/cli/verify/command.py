"""The command `recmesh verify`."""

import os
import sys
from typing import Annotated, get_args

import typer

from recmesh.cli import arguments
from recmesh.cli.options import AsJson
from recmesh.contract import ServiceName
from recmesh.spelling import did_you_mean

_USER = "5000"
_SERVICES = get_args(ServiceName)


def _service(text: str) -> str:
    if text not in _SERVICES:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(_SERVICES)}{did_you_mean(text, _SERVICES)}")
    return text


def verify(
    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help=f"A user who is stored; may be repeated. Default: {_USER}, a user of the synthetic shop.",
            show_default=False,
        ),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(
            parser=_service,
            metavar="NAME",
            help="Only this service; may be repeated. Default: um, cm, recall, rank and as, and feed if "
            "RECMESH_FEED_TARGET is set.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for health SERVING.")] = 60.0,
    timeout: Annotated[
        float, typer.Option(parser=arguments.seconds, metavar="SECONDS", help="For each call, retries included.")
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Check from outside that the running mesh keeps its contract. Exit code 1 if it does not.

    Services are found as by client.py. The HTTP ports of as and feed are checked as well if RECMESH_AS_HTTP_TARGET and
    RECMESH_FEED_HTTP_TARGET (host:port) name them. The checks change nothing.
    """
    # gRPC logs dropped connections itself; the results say enough.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import uvloop

    from recmesh.bearer import token_of
    from recmesh.cli.verify.running import CHECKS, Options, run_verify
    from recmesh.cli.verify.session import Place
    from recmesh.client import Targets
    from recmesh.tls import TlsFiles

    default = [name for name in CHECKS if name != "feed" or os.environ.get("RECMESH_FEED_TARGET")]
    services = [name for name in CHECKS if name in (service or default)]
    place = Place(
        Targets.from_environment(), Place.http_targets_of(os.environ), TlsFiles.from_environment(), token_of()
    )
    options = Options(services, user or [_USER], wait, timeout)
    run = run_verify(options, place, as_json=as_json, say=lambda line: print(line, file=sys.stderr, flush=True))
    raise typer.Exit(uvloop.run(run))
