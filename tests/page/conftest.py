"""The fixture ``page``: the folder that `make page` writes. It needs npm, and a network the first time."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.page import build
from tests.helpers.browser import browser  # noqa: F401  a fixture
from tests.page.person import Quiet

AXE = "axe-core@4.14.1"
CACHE = Path(build.__file__).parents[2] / "build" / "npm"


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> Path:
    try:
        build.fetch_runtime(CACHE)
    except UserError as reason:
        pytest.skip(str(reason))
    return build.build(tmp_path_factory.mktemp("page") / "page", build.BUNDLES.split(","), CACHE)


@pytest.fixture(scope="session")
def node() -> str:
    return shutil.which("node") or pytest.skip("no node")


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, from npm, which finds what shuts people out of a page."""
    path = CACHE / f"{AXE}.js"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        done = shutil.which("npm") and subprocess.run(["npm", "pack", AXE, "--silent"], cwd=path.parent,
                                                      capture_output=True, text=True)
        if not done or done.returncode:
            pytest.skip("axe-core cannot be had from npm")
        package = path.parent / done.stdout.split()[-1]
        with tarfile.open(package) as tar:
            path.write_bytes(tar.extractfile("package/axe.min.js").read())
        package.unlink()
    return path.read_text("utf-8")


@pytest.fixture
def shown(page, browser, tmp_path):  # noqa: F811
    """The page in the browser, its server, and the folder of downloads; without what earlier tests kept."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=page))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    url = f"http://127.0.0.1:{server.server_port}/"
    yield SimpleNamespace(browser=browser, url=url, server=server, downloads=tmp_path)
    browser.ask("Storage.clearDataForOrigin", origin=url[:-1], storageTypes="all")
    server.shutdown()
    server.server_close()
