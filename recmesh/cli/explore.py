"""`recmesh explore`: web pages that show how the running mesh answers a request."""

from pathlib import Path
from typing import Annotated

import typer

from recmesh.cli.options import STORE, StoreUrl
from recmesh.contract import CHAIN_CANDIDATES, DEFAULT_HOME, MAX_CANDIDATES
from recmesh.errors import SettingsError

_PORT = 8970
_MAX_PORT = 65_535


def explore(
    host: Annotated[
        str, typer.Option(help="Address of the pages. They have no login: keep to loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=_MAX_PORT, envvar="RECMESH_EXPLORER_PORT", help="Port.")] = _PORT,
    store: StoreUrl = STORE,
    home: Annotated[
        Path, typer.Option(envvar="RECMESH_HOME", help="Folder for copies of releases.", show_default=True)
    ] = Path(DEFAULT_HOME),
    candidates: Annotated[
        int, typer.Option(min=1, max=MAX_CANDIDATES, envvar="RECMESH_CANDIDATES", help="Candidates that `as` asks for.")
    ] = CHAIN_CANDIDATES,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the pages in a browser.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Load the images of items from their own hosts.")] = False,
) -> None:
    """Show how the running mesh answers: candidates, scores, reasons, times. Services are found as by client.py."""
    try:
        from recmesh.explorer.app import Settings
        from recmesh.explorer.server import run
    except ModuleNotFoundError as error:
        if (error.name or "recmesh").partition(".")[0] == "recmesh":
            raise
        raise SettingsError("this command needs the extra \"explore\": pip install 'recmesh[explore]'") from None
    except ImportError as error:  # the kernels are not compiled; the message says how
        raise SettingsError(str(error)) from None
    from recmesh.client import Targets

    run(Settings(Targets.from_environment(), store, home, host, candidates, images), port, open_browser=open_browser)
