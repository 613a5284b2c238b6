"""Who may ask the studio for anything, and that no path leads out of its workspace."""

from __future__ import annotations

import os

import pytest

from tests.studio.conftest import PORT, TOKEN, URL, refused

EVIL = "http://evil.example"


def test_without_the_token_there_is_nothing(stranger):
    for path in ("/", "/studio.js", "/api/library", "/file/clips/a/b.wav", "/kit/kit.json", "/page/app.js"):
        refused(stranger.get(path), "token", status=403)
    refused(stranger.post("/api/batch", json={}), "token", status=403)
    refused(stranger.put("/api/upload?folder=a&name=a.wav", content=b"x"), "token", status=403)


@pytest.mark.parametrize("token", ["", "b-token", TOKEN[:-1], TOKEN + "x", "ü"])
def test_a_wrong_token_is_none(stranger, token):
    refused(stranger.get("/", params={"token": token}), "not the token", status=403)
    stranger.cookies.set(f"studio{PORT}", token.encode("ascii", "replace").decode())
    refused(stranger.get("/api/library"), "token", status=403)


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(stranger):
    shown = stranger.get(f"/?token={TOKEN}")
    cookie = shown.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "domain" not in cookie
    assert TOKEN not in shown.text
    assert stranger.get("/").status_code == 200 and "<title>micro-musicgen studio" in stranger.get("/").text


def test_another_origin_is_refused(client):
    for origin in (EVIL, "null", "http://127.0.0.1:1", f"https://127.0.0.1:{PORT}", f"http://localhost:{PORT}"):
        for ask in (client.get, client.post):
            refused(ask("/api/library", headers={"origin": origin}), "only the studio's own page", status=403)
    refused(client.get("/api/library", headers={"sec-fetch-site": "cross-site"}), "another site", status=403)
    del client.headers["origin"]
    refused(client.post("/api/stop", json={"job": "x"}), "only the studio's own page", status=403)
    assert client.get("/api/library").status_code == 200  # a browser sends no Origin where it only reads


def test_another_host_is_refused(client):
    """DNS rebinding: a name of somebody else's that leads here."""
    for host in ("evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT}.evil.example", "[::1]:8174"):
        refused(client.get("/api/library", headers={"host": host, "origin": f"http://{host}"}), "called", status=421)


def test_other_ways_in_are_shut(client):
    assert {client.get("/api/batch").status_code, client.post("/api/library", json={}).status_code} <= {404, 405}
    assert client.request("OPTIONS", "/api/library", headers={"origin": EVIL}).status_code == 403
    for path in ("/server.py", "/../server.py", "/%2e%2e/server.py", "/page/%2e%2e/build.py",
                 "/kit/%2e%2e/%2e%2e/kinds.py"):
        assert client.get(path).status_code == 404


def test_what_is_shown_stays_here(client, workspace):
    headers = client.get("/").headers
    assert "default-src 'self'" in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"
    (workspace.root / "stores" / "a").mkdir(parents=True)
    (workspace.root / "stores" / "a" / "report.html").write_text("<script>fetch('/api/jobs')</script>")
    report = client.get("/file/stores/a/report.html").headers["content-security-policy"]
    assert report.startswith("sandbox") and "allow-same-origin" not in report  # its origin is "null", which is refused


PATHS = ["../secret.wav", "a/../../secret.wav", "clips/../../secret.wav", "..", "/etc/passwd", "//etc/passwd",
         "clips/..\\..\\secret.wav", "C:/secret.wav", ".studio/jobs", "clips/.hidden.wav", "a\0b.wav", "", "./clips"]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(client, workspace, path):
    for body in ({"store": path}, {"store": path, "changes": {}}):
        refused(client.post("/api/labels", json=body))
    refused(client.post("/api/prepare", json={"source": path, "store": "a"}))
    refused(client.post("/api/prepare", json={"source": "shipped:breaks", "store": path}))
    refused(client.post("/api/batch", json={"bundle": path}))
    refused(client.post("/api/batch", json={"bundle": "embedded", "prompt": path or "/"}))
    refused(client.post("/api/batch", json={"bundle": "embedded", "name": path or "/"}))
    refused(client.post("/api/batch", json={"bundle": "embedded", "weird": f"blend:with={path or '/'},share=5%"}))
    refused(client.post("/api/batch", json={"bundle": "embedded", "weird": f"through:model={path or '/'}"}))
    refused(client.post("/api/train", json={"store": path}))
    refused(client.post("/api/drop", json={"file": path}))
    refused(client.get("/api/clips", params={"folder": path}))
    refused(client.get("/api/run", params={"run": path}))
    refused(client.get("/api/log", params={"job": path}))
    refused(client.put("/api/upload", params={"folder": "a", "name": path}, content=b"x"))
    refused(client.put("/api/upload", params={"folder": path, "name": "a.wav"}, content=b"x"))
    assert (workspace.root.parent / "secret.wav").read_bytes() == b"not yours"
    assert not (workspace.root / ".studio").exists(), "a job was started"


@pytest.mark.parametrize("path", ["/file/%2e%2e/secret.wav", "/file//etc/passwd", "/file/a/%2e%2e/%2e%2e/secret.wav",
                                  "/file/%2fetc%2fpasswd", "/file/.studio/jobs/a.json"])
def test_no_url_leads_out(client, path):
    refused(client.get(path))


def test_no_link_leads_out(client, workspace):
    secret = workspace.root.parent / "secret.wav"
    (workspace.root / "clips").mkdir()
    (workspace.root / "clips" / "link.wav").symlink_to(secret)
    (workspace.root / "sounds").symlink_to(workspace.root.parent)
    refused(client.get("/file/clips/link.wav"), "leads out of the workspace")
    refused(client.get("/file/sounds/secret.wav"), "leads out of the workspace")
    refused(client.put("/api/upload?folder=a&name=b.wav", content=b"x"), "leads out of the workspace")
    refused(client.post("/api/prepare", json={"source": "sounds", "store": "a"}), "leads out of the workspace")
    (workspace.root / "clips" / "loop.wav").symlink_to("loop.wav")
    refused(client.get("/file/clips/loop.wav"))
    assert sorted(os.listdir(workspace.root.parent)) == ["secret.wav", "ws"]


def test_other_files_of_the_workspace_are_not_shown(client, workspace):
    for name in ("checkpoint.th", "key.pem", "notes.txt", "script.py"):
        (workspace.root / name).write_text("x")
        refused(client.get(f"/file/{name}"), "no other files")


def test_a_request_is_an_object_of_bounded_size(client):
    refused(client.post("/api/stop", content=b"[]"), "JSON object")
    refused(client.post("/api/stop", content=b"{"), "JSON")
    refused(client.post("/api/stop", content=b"[" * 100_000), "JSON")
    refused(client.post("/api/stop", content=b" " * (5 << 20)), "4 MiB")
    refused(client.post("/api/encode", content=b" " * (65 << 20)), "64 MiB")


def test_both_names_of_this_machine_do(workspace):
    from starlette.testclient import TestClient

    from audiocraft_ext.studio.server import build_app

    local = URL.replace("127.0.0.1", "localhost")
    client = TestClient(build_app(workspace, TOKEN, PORT), base_url=local, headers={"origin": local})
    client.get(f"/?token={TOKEN}")
    assert client.post("/api/stop", json={"job": "x"}).status_code == 400
