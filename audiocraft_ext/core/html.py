"""What the pages that this project writes have in common: the grid's (sweep/page.py), the preparation's report."""

from __future__ import annotations

import base64
import hashlib


def csp(script: str) -> str:
    """The content security policy of the page: its own script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()
