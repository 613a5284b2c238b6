"""The server: what may ask, what can be asked, and how it is answered.

Everything is refused that does not come from the page that this server itself showed to whoever has the token: the name
that it is called by (Host, against DNS rebinding), where a request comes from (Origin, Sec-Fetch-Site), the token (once
in the URL, then a cookie that scripts cannot read and other sites cannot send). Errors are ``{"error": "words"}``.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.page.build import KIT
from audiocraft_ext.page.build import WEB as PAGE
from audiocraft_ext.studio import data, library, make, share, train, uploads
from audiocraft_ext.studio.jobs import Jobs
from audiocraft_ext.studio.workspace import Workspace

WEB = Path(__file__).parent / "web"
MOST_BODY, MOST_SOUND = 4 << 20, 64 << 20  # bytes of a request that is JSON, or a sound to begin with
SHOWN = frozenset(".wav .flac .ogg .mp3 .mid .midi .json .html .csv .png".split())  # of the workspace's files
POLICY = ("default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
          "form-action 'none'; frame-ancestors 'none'")
ALONE = "sandbox allow-scripts; frame-ancestors 'none'"  # of pages in the workspace: they cannot ask for anything here
HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store",
           "cross-origin-resource-policy": "same-origin", "cross-origin-opener-policy": "same-origin"}
ENTER = ('<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=./">'
         '<title>micro-musicgen studio</title><link rel="icon" href="data:,"><a href="./">Open the studio</a></html>')


class Guard:
    """In front of everything: a request that was not made by the studio's own page gets nowhere."""

    def __init__(self, app: ASGIApp, token: str, port: int):
        self.app, self.token, self.cookie = app, token, f"studio{port}"
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"} | ({"127.0.0.1", "localhost"} if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None  # no web sockets here
        refused = self.refusal(Request(scope))
        if isinstance(refused, Response):
            return await refused(scope, receive, _with_headers(send))
        await self.app(scope, receive, _with_headers(send))

    def refusal(self, request: Request) -> Response | None:
        """Why a request is not answered; the page that takes the token out of the URL; or None."""
        headers, host = request.headers, request.headers.get("host", "")
        if host not in self.hosts:
            return _error(f"the studio is called {sorted(self.hosts)[0]}, not {host[:80]!r}", 421)
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        reads = request.method in ("GET", "HEAD")
        if (origin is None and not reads) or (origin is not None and origin != f"http://{host}"):
            return _error(f"only the studio's own page may ask for this, not {str(origin)[:80]}", 403)
        given = request.query_params.get("token")
        if given is not None and request.url.path == "/" and reads:
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return _error("this is not the token of this studio; open the URL that it printed", 403)
            entered = HTMLResponse(ENTER)  # no redirect: a strict cookie would not be sent after one from elsewhere
            entered.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
            return entered
        if site not in (None, "same-origin", "none"):
            return _error("only the studio's own page may ask for this, not another site", 403)
        if not hmac.compare_digest(request.cookies.get(self.cookie, "").encode(), self.token.encode()):
            return _error("open the URL that the studio printed when it started: its token is missing", 403)
        return None


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = Headers(raw=message["headers"])
            more = HEADERS | {"content-security-policy": POLICY}
            message["headers"] = [*message["headers"], *((name.encode(), value.encode()) for name, value in
                                                         more.items() if name not in there)]
        await send(message)

    return sent


def _error(words: str, status: int = 400) -> JSONResponse:
    return JSONResponse({"error": " ".join(words.split())}, status)


async def _bytes(request: Request, most: int) -> bytes:
    """What a request brings, of bounded size."""
    read = bytearray()
    async for block in request.stream():
        read += block
        if len(read) > most:
            raise UserError(f"this may have {most >> 20} MiB, and has more")
    return bytes(read)


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request."""
    read = await _bytes(request, MOST_BODY)
    try:
        value = json.loads(read or b"{}")
    except (ValueError, RecursionError):
        raise UserError("expected JSON") from None
    if not isinstance(value, dict):
        raise UserError("expected a JSON object")
    return value


class Studio:
    """The parts of one workspace, as routes. Whatever may take a moment runs beside the server's loop."""

    def __init__(self, workspace: Workspace):
        self.workspace, self.jobs, self.maker = workspace, Jobs(workspace), make.Maker(workspace)

    def routes(self) -> list[Route]:
        here, jobs = self.workspace, self.jobs
        reads: dict[str, Callable[[Request], Any]] = {
            "library": lambda r: {"bundles": library.bundles(here), "stores": library.stores(here),
                                  "runs": library.runs(here), "clips": library.clip_folders(here),
                                  "folder": str(here.root)},
            "instruments": lambda r: library.instruments(here),
            "runs": lambda r: library.runs(here),
            "folders": lambda r: library.clip_folders(here),
            "clips": lambda r: library.clips(here, r.query_params.get("folder", "")),
            "run": lambda r: library.run(here, train.run_folder(here, r.query_params.get("run")), curve=True),
            "jobs": lambda r: jobs.list(),
            "log": lambda r: {"log": jobs.log(r.query_params.get("job", ""))},
            "sources": lambda r: data.sources(here),
            "labels": lambda r: data.table(here, r.query_params.get("store")),
            "recipes": lambda r: train.recipes(here),
        }
        writes: dict[str, Callable[[dict[str, Any]], Any]] = {
            "batch": lambda asked: make.batch(here, jobs, asked),
            "keep": self.maker.keep,
            "prepare": lambda asked: data.prepare(here, jobs, asked),
            "labels": lambda asked: {"changed": data.correct(here, asked.get("store"), asked.get("changes"))},
            "check": lambda asked: train.check(here, asked),
            "train": lambda asked: train.start(here, jobs, asked),
            "resume": lambda asked: train.resume(here, jobs, asked),
            "stop-run": lambda asked: train.stop(here, jobs, asked),
            "export": lambda asked: train.export(here, jobs, asked),
            "sweep": lambda asked: train.sweep(here, jobs, asked),
            "stop": lambda asked: jobs.stop(str(asked.get("job")), now=asked.get("now") is True),
            "again": lambda asked: jobs.again(str(asked.get("job"))),
            "forget": lambda asked: jobs.forget(str(asked.get("job"))),
            "drop": self.drop_clip,
            "contents": lambda asked: share.contents(here, asked),
            "push": lambda asked: share.push(here, jobs, asked),
            "pull": lambda asked: share.pull(here, jobs, asked),
        }
        return [
            *(Route(f"/api/{name}", _reader(answer)) for name, answer in reads.items()),
            *(Route(f"/api/{name}", _writer(answer), methods=["POST"]) for name, answer in writes.items()),
            Route("/api/clip", self.clip, methods=["POST"]),
            Route("/api/encode", self.encode, methods=["POST"]),
            Route("/api/upload", self.upload, methods=["PUT"]),
            Route("/file/{path:path}", self.file),
            Route("/kit/{path:path}", _web(KIT)),
            Route("/page/{path:path}", _web(PAGE)),
            Route("/{path:path}", _web(WEB, PAGE)),
        ]

    async def clip(self, request: Request) -> Response:
        """One clip for the page's own views, told line by line; who leaves meanwhile stops it."""
        asked, stopped = await _body(request), threading.Event()
        lines = self.maker.answer(asked, stopped)

        async def told():
            try:
                while (line := await run_in_threadpool(next, lines, None)) is not None:
                    yield line
            finally:
                stopped.set()

        return StreamingResponse(told(), media_type="application/x-ndjson")

    async def encode(self, request: Request) -> Response:
        """The codes of a sound that a clip shall begin with."""
        sound, name = await _bytes(request, MOST_SOUND), request.query_params.get("name")
        return JSONResponse(await run_in_threadpool(self.maker.encode, name, sound))

    async def upload(self, request: Request) -> Response:
        """A file as it is, its folder and name in the query."""
        folder, name = request.query_params.get("folder"), request.query_params.get("name")
        announced = request.headers.get("content-length", "")
        path = await run_in_threadpool(uploads.target, self.workspace, folder, name)
        size = int(announced) if announced.isascii() and announced.isdigit() else None
        made = await uploads.receive(path, request.stream(), size, self.workspace.place("sounds", folder))
        return JSONResponse({"files": made, "source": f"sounds/{folder}"})

    async def file(self, request: Request) -> Response:
        """A file of the workspace, to be heard, shown or downloaded."""
        path = self.workspace.path(request.path_params["path"])
        if path.suffix.lower() not in SHOWN:
            raise UserError(f"{path.name}: the studio shows sound, MIDI, reports and tables, no other files")
        if not path.is_file():
            raise HTTPException(404, f"{request.path_params['path'][:200]}: there is no such file")
        page = {"content-security-policy": ALONE} if path.suffix.lower() == ".html" else {}
        named = path.name if "download" in request.query_params else None
        return FileResponse(path, filename=named, headers=page)

    def drop_clip(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Delete a clip of ``clips/``: its JSON and what lies beside it under the same name."""
        path = self.workspace.path(asked.get("file"))
        top = self.workspace.root / "clips"
        if path.parent.parent != top or path.suffix.lower() not in (".wav", ".mid", ".json"):
            raise UserError(f"{str(asked.get('file'))[:80]}: expected a clip below clips/")
        there = [file for file in library.files_of(path) if file.is_file()]
        for file in there:
            file.unlink()
        return {"files": len(there)}


def _reader(answer: Callable[[Request], Any]):
    async def get(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(answer, request))

    return get


def _writer(answer: Callable[[dict[str, Any]], Any]):
    async def post(request: Request) -> Response:
        asked = await _body(request)
        return JSONResponse(await run_in_threadpool(answer, asked))

    return post


def _web(*places: Path):
    """Files of the web code, of the first of ``places`` that has one: the studio's own stand before the page's."""
    async def get(request: Request) -> Response:
        name = request.path_params["path"] or "index.html"
        for place in places:
            path = (place / name).resolve()
            if path.is_relative_to(place.resolve()) and path.is_file():
                return FileResponse(path)
        raise HTTPException(404, f"{name[:200]}: there is no such page")

    return get


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _error(error.detail, error.status_code)
    return _error(str(error))


async def _no_room(request: Request, error: Exception) -> Response:
    """A full disk, a folder that may not be written."""
    return _error(f"{getattr(error, 'strerror', None) or error}: {getattr(error, 'filename', None) or 'a file'}", 500)


async def _fault(request: Request, error: Exception) -> Response:
    return _error(f"the studio has a fault here: {type(error).__name__}: {error}", 500)


def build_app(workspace: Workspace, token: str, port: int) -> Guard:
    """The whole of it, for uvicorn or a test."""
    app = Starlette(routes=Studio(workspace).routes(), exception_handlers={
        UserError: _refused, HTTPException: _refused, OSError: _no_room, Exception: _fault})
    return Guard(app, token, port)
