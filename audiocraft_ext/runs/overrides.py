"""Values on Hydra's command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence


def quoted(text: str) -> str:
    """``text`` as a Hydra value that is read back as it is: a folder's name may hold ``, ( ' & ${`` or a space."""
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # OmegaConf's: else it would look up what stands in the braces
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)  # within quotes a backslash counts only before a quote
    return "'" + re.sub(r"(\\+)$", r"\1\1", text) + "'"


def signature_kept(argument: str) -> str:
    """``continue_from=SIGNATURE`` that stays one: Hydra reads 6e123456 as infinity, and 01234567 without its 0."""
    key, _, value = argument.partition("=")
    number = key == "continue_from" and re.fullmatch(r"[0-9]+(e[0-9]+)?", value)
    return f"{key}={quoted(value)}" if number else argument


def how_to_quote(arguments: Sequence[str]) -> str:
    """How to write the first of ``KEY=VALUE`` whose value has letters that mean something to Hydra, as words to put
    behind an error; "" where there is none."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if re.search(r"[()\[\]{},='\"`\s#&!|<>;*?]", value) and not re.fullmatch(r"(['\"]).*\1|\[.*\]|\{.*\}", value):
            return f"; if {value} is meant as it is, write {shlex.quote(f'{key}={quoted(value)}')}"
    return ""
