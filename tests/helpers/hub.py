"""A stand-in for the Hugging Face Hub: as much of its HTTP API as a push and a pull of huggingface_hub ask for."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".onnx", ".wav", ".bin", ".mid")  # kept as LFS objects, as a repository's .gitattributes say
WRITER, READER = "hf_writer_of_ann", "hf_reader_of_bob"  # tokens; the first may write below ann/


@dataclass
class Repo:
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # by hash, in order

    @property
    def main(self) -> str:
        return list(self.commits)[-1]

    def add(self, files: dict[str, bytes]) -> str:
        text = json.dumps([len(self.commits), {n: hashlib.sha256(data).hexdigest() for n, data in files.items()}])
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit] = files
        return commit


@dataclass
class StandIn:
    """The Hub's state, what it was asked, and how it is to misbehave.

    Attributes:
        asked: ``METHOD path`` of each request.
        headers: of each request.
        answers: a pattern of ``METHOD path`` to a status, headers and a body, in place of the true answer.
        altered: bytes that are sent in place of a file's, by its name.
        held: names whose bytes stop halfway until :attr:`go`.
        cdn: where the bytes of large files lie, another host to whoever asks.
    """

    url: str = ""
    cdn: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    altered: dict[str, bytes] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    go: threading.Event = field(default_factory=threading.Event)
    holding: threading.Event = field(default_factory=threading.Event)

    def edit(self, repo: str, **changes: bytes | None) -> str:
        """A commit that changes files behind everybody's back; None takes one away. ``__`` in a name is a dot."""
        files = dict(self.repos[repo].commits[self.repos[repo].main])
        for name, data in changes.items():
            name = name.replace("__", ".")
            files.pop(name, None)
            if data is not None:
                files[name] = data
        return self.repos[repo].add(files)


@contextlib.contextmanager
def stand_in() -> Iterator[StandIn]:
    """It listens on a port of this machine as long as the block runs."""
    hub = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url, hub.cdn = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.go.set()
        server.shutdown()
        server.server_close()


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str):
        self.status, self.headers = status, {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})


class _Handler(BaseHTTPRequestHandler):
    hub: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def do_any(self) -> None:
        self.path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {self.path}")
        self.hub.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.body = self._read()
        for pattern, (status, headers, data) in self.hub.answers.items():
            if re.search(pattern, self.hub.asked[-1]):
                return self._send(status, data, **headers)
        for pattern, name in ROUTES.items():
            if found := re.fullmatch(pattern, f"{self.command} {self.path}"):
                try:
                    return getattr(self, name)(*map(unquote, found.groups()))
                except _Refused as error:
                    return self._send(error.status, json.dumps({"error": error.headers["X-Error-Message"]}).encode(),
                                      **error.headers)
        self._send(404, b'{"error": "no such page"}')

    do_GET = do_HEAD = do_POST = do_PUT = do_any

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _send(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode())

    def _token(self) -> str:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in ("", WRITER, READER):
            raise _Refused(401, "", "Invalid credentials in Authorization header")
        return token

    def _repo(self, name: str, write: bool = False) -> Repo:
        token, repo = self._token(), self.hub.repos.get(name)
        if repo is None or (repo.private and token != WRITER):
            raise _Refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if write and not (token == WRITER and name.startswith("ann/")):
            raise _Refused(403, "", "You don't have write access")
        return repo

    def _commit(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        repo = self._repo(name)
        commit = repo.main if revision == "main" else revision
        if commit not in repo.commits:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, repo.commits[commit]

    def create(self) -> None:
        asked = json.loads(self.body)
        if self._token() != WRITER or asked["organization"] != "ann":
            raise _Refused(403, "", "You don't have the rights to create a model under this namespace")
        name = f"{asked['organization']}/{asked['name']}"
        self.hub.repos[name] = Repo(asked.get("visibility") == "private")
        self.hub.repos[name].add({".gitattributes": b"*.safetensors filter=lfs\n"})
        self._json({"url": f"{self.hub.url}/{name}"})

    def info(self, name: str, revision: str = "main") -> None:
        commit, files = self._commit(name, revision)
        siblings = [{"rfilename": path, "size": len(data), "blobId": git_hash(data)} | (
            {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130},
             "blobId": "0" * 40} if path.endswith(LARGE) else {}) for path, data in files.items()]
        self._json({"id": name, "sha": commit, "private": self.hub.repos[name].private, "siblings": siblings})

    def yaml(self) -> None:
        self._token()
        good = json.loads(self.body)["content"].startswith("---\n")
        self._json({"errors": [] if good else [{"message": "no metadata"}], "warnings": []}, 200 if good else 400)

    def preupload(self, name: str, revision: str) -> None:
        self._repo(name, write=True)
        files = self._commit(name, revision)[1]
        modes = []
        for one in json.loads(self.body)["files"]:
            path, old = one["path"], files.get(one["path"])
            large = path.endswith(LARGE)
            mode = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            same = {"oid": hashlib.sha256(old).hexdigest() if large else git_hash(old)} if old else {}
            modes.append(mode | same)
        self._json({"files": modes})

    def batch(self, name: str) -> None:
        self._repo(name, write=True)
        self._json({"transfer": "basic", "objects": [
            one if one["oid"] in self.hub.objects else one | {"actions": {
                "upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"},
                "verify": {"href": f"{self.hub.url}/lfs/verify"}}} for one in json.loads(self.body)["objects"]]})

    def put(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.objects[oid] = self.body
        self._send(200)

    def verify(self) -> None:
        self._send(200 if json.loads(self.body)["oid"] in self.hub.objects else 404)

    def commit(self, name: str, revision: str) -> None:
        repo, lines = self._repo(name, write=True), [json.loads(line) for line in self.body.splitlines()]
        assert lines[0]["key"] == "header" and lines[0]["value"]["parentCommit"] == repo.main
        files = dict(repo.commits[repo.main])
        for line in lines[1:]:
            path = line["value"]["path"]
            if line["key"] == "deletedFile":
                del files[path]
            else:
                large = line["key"] == "lfsFile"
                files[path] = (self.hub.objects[line["value"]["oid"]] if large
                               else base64.b64decode(line["value"]["content"]))
        commit = repo.add(files)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit, "success": True})

    def resolve(self, name: str, revision: str, path: str) -> None:
        commit, files = self._commit(name, revision)
        if path not in files:
            raise _Refused(404, "EntryNotFound", "Entry not found")
        data = files[path]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{git_hash(data)}"'}
        if path.endswith(LARGE):  # the bytes lie elsewhere
            oid = hashlib.sha256(data).hexdigest()
            self.hub.objects[oid] = data
            return self._send(302, **headers, X_Linked_ETag=f'"{oid}"', X_Linked_Size=str(len(data)),
                              Location=f"{self.hub.cdn}/cdn/{path}/{oid}")
        self._file(path, data, headers)

    def cdn(self, path: str, oid: str) -> None:
        self._file(path, self.hub.objects[oid], {"ETag": f'"{oid}"'})

    def _file(self, path: str, data: bytes, headers: dict[str, str]) -> None:
        data = self.hub.altered.get(path, data)
        if path in self.hub.held and self.command == "GET":
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.hub.holding.set()
            self.hub.go.wait(60)
            self.close_connection = True
        else:
            self._send(200, data, **headers)


_REPO = r"([^/]+/[^/]+)"
ROUTES = {
    "POST /api/repos/create": "create",
    f"GET /api/models/{_REPO}": "info",
    f"GET /api/models/{_REPO}/revision/([^/]+)": "info",
    "POST /api/validate-yaml": "yaml",
    f"POST /api/models/{_REPO}/preupload/([^/]+)": "preupload",
    rf"POST /{_REPO}\.git/info/lfs/objects/batch": "batch",
    "PUT /lfs/([0-9a-f]+)": "put",
    "POST /lfs/verify": "verify",
    f"POST /api/models/{_REPO}/commit/([^/]+)": "commit",
    f"(?:GET|HEAD) /{_REPO}/resolve/([^/]+)/(.+)": "resolve",
    "(?:GET|HEAD) /cdn/(.+)/([0-9a-f]+)": "cdn",
}
