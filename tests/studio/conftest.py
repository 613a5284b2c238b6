"""A workspace, and a client that came in with the token, as the studio's own page does."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from audiocraft_ext.studio.server import build_app
from audiocraft_ext.studio.workspace import Workspace
from tests.helpers.browser import browser  # noqa: F401  a fixture

TOKEN, PORT = "a-token", 8174
URL = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    (tmp_path / "ws").mkdir()
    (tmp_path / "secret.wav").write_bytes(b"not yours")
    return Workspace(tmp_path / "ws")


@pytest.fixture
def stranger(workspace) -> TestClient:
    """Somebody on this machine who was not shown the token."""
    return TestClient(build_app(workspace, TOKEN, PORT), base_url=URL, headers={"origin": URL})


@pytest.fixture
def client(stranger) -> TestClient:
    assert stranger.get(f"/?token={TOKEN}").status_code == 200
    return stranger


def refused(response, *words: str, status: int = 400) -> str:
    """The words with which it was refused."""
    said = response.json()["error"]
    assert response.status_code == status and all(word in said for word in words), (response.status_code, said)
    return said
