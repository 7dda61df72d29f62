"""Runs the explorer."""

import socket
import webbrowser

import uvicorn

from recmesh.contract import address, bare_host
from recmesh.errors import SettingsError
from recmesh.explorer.app import Settings, application


def run(settings: Settings, port: int, *, open_browser: bool) -> None:
    """Serve the pages until interrupted.

    Args:
        settings: Where the explorer finds things.
        port: The port of the pages.
        open_browser: Whether to open them in a browser.

    Raises:
        SettingsError: The address cannot be bound.
    """
    host = bare_host(settings.host)
    config = uvicorn.Config(
        application(settings), log_level="warning", access_log=False, server_header=False, loop="uvloop"
    )
    with _bound(host, port) as listener:
        url = f"http://{address(host, port)}/"
        print(f"explorer: {url} (Ctrl-C ends it)", flush=True)
        if open_browser:
            webbrowser.open(url)  # connections wait in the backlog until the server accepts them
        uvicorn.Server(config).run(sockets=[listener])


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        raise SettingsError(f"explorer: cannot listen on {address(host, port)}: {error.strerror}; set --port") from None
