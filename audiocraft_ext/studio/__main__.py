"""``python -m audiocraft_ext.studio [WORKSPACE]``: start the server, say where it is, open the browser."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import threading
import webbrowser
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError, run_cli

PORT = 8174  # kept where it is free: what a browser keeps for a page, it keeps by the port


def bound(port: int | None) -> socket.socket:
    """A socket of 127.0.0.1, of the port that was asked for, or of the usual one or any.

    Raises:
        UserError: the port that was asked for is taken.
    """
    for number in (port,) if port is not None else (PORT, 0):
        place = socket.socket()
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind(("127.0.0.1", number))
            return place
        except OSError as error:
            place.close()
            reason = error.strerror or str(error)
    raise UserError(f"port {port}: {reason}; leave --port out for one that is free")


def main() -> None:
    parser = Parser(prog="python -m audiocraft_ext.studio", description="The studio, in your browser.")
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("."),
                        help="folder of its stores, runs, bundles and clips (default: this one)")
    parser.add_argument("--port", type=int, help=f"of 127.0.0.1 (default: {PORT}, or any that is free)")
    parser.add_argument("--no-browser", action="store_true", help="only print the URL")
    args = parser.parse_args()
    if args.port is not None and not 0 <= args.port < 65536:
        raise UserError(f"--port is 0 (any) to 65535, got {args.port}")
    try:
        import uvicorn

        from audiocraft_ext.studio.server import build_app
    except ImportError as error:
        raise UserError(f"the studio needs {error.name}, which is not installed; make setup installs it") from None
    from audiocraft_ext.studio.workspace import Workspace

    workspace, token = Workspace(args.workspace), secrets.token_urlsafe(24)
    if not os.access(workspace.root, os.W_OK):
        raise UserError(f"{workspace.root}: cannot be written to; choose another folder")
    place = bound(args.port)
    port = place.getsockname()[1]
    url = f"http://127.0.0.1:{port}/?token={token}"
    app = build_app(workspace, token, port)
    print(f"The studio of {workspace.root} is at\n  {url}\nOnly this machine can open it. Ctrl-C ends it.", flush=True)
    if not args.no_browser:
        threading.Timer(0.5, lambda: webbrowser.open(url)).start()
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, ws="none",
                            server_header=False)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[place])
    from audiocraft_ext.studio.jobs import Jobs

    if going := Jobs(workspace).running():
        titles, are = ", ".join(job["title"] for job in going), "s go" if len(going) > 1 else " goes"
        print(f"\n{len(going)} job{are} on: {titles}.\nStart the studio again to see or stop them.", file=sys.stderr)


if __name__ == "__main__":
    run_cli(main)
