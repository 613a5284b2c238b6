"""What the pages that this project writes have in common: the grid's (sweep/page.py), the preparation's report."""

from __future__ import annotations

import base64
import hashlib


def csp(script: str) -> str:
    """What a browser is told to allow of the page's script: nothing but this."""
    return "sha256-" + base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()
