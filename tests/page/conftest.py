"""The fixture ``page``: the folder that `make page` writes. It needs npm, and a network the first time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.page import build
from tests.helpers.browser import browser  # noqa: F401  a fixture

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
