"""Values on Hydra's command line."""

from __future__ import annotations

import re


def quoted(text: str) -> str:
    """``text`` as a Hydra value that is read back as it is: a folder's name may hold ``, ( ' & ${`` or a space."""
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # OmegaConf's: else it would look up what stands in the braces
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)  # within quotes a backslash counts only before a quote
    return "'" + re.sub(r"(\\+)$", r"\1\1", text) + "'"
