"""The Hub as this project asks it: one repository, its commits and files, and what went wrong in words.

A token is taken from HF_TOKEN or from the library's login, sent to the Hub alone, and never printed. ``HF_ENDPOINT``
names another Hub. huggingface_hub's own cache is not used, nor its Xet transfer, which keeps files and logs below the
home folder (audiocraft_ext/__init__.py): files come and go by plain HTTP.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.hub.files import Remote

PUBLIC = "https://huggingface.co"
_NAME = r"[A-Za-z0-9](?:[\w.-]*\w)?"
_ADDRESS = re.compile(rf"({_NAME}/{_NAME})(?:@([\w./-]+))?", re.ASCII)
_KNOWN = (OSError, ValueError, KeyError, TypeError, RuntimeError)  # of the library, besides those of HTTP


@dataclass(frozen=True)
class Address:
    """Where a bundle lies: ``owner/name``, and the revision (a branch, a tag or a commit) that is asked for."""

    repo: str
    revision: str | None = None

    @classmethod
    def of(cls, text: str) -> Address:
        """Read ``owner/name[@revision]``; a link to the repository's page will do.

        Raises:
            UserError: it is something else.
        """
        plain = text.strip()
        for head in (f"{endpoint()}/", f"{PUBLIC}/", "hf://"):
            plain = plain.removeprefix(head)
        found = _ADDRESS.fullmatch(plain.removesuffix("/"))
        if not found or ".." in found[0]:
            raise UserError(f"expected owner/name or owner/name@revision, a repository of {endpoint()}, got {text!r}")
        return cls(found[1], found[2])

    @property
    def name(self) -> str:
        return self.repo.partition("/")[2]


@dataclass(frozen=True)
class Commit:
    """What a repository holds at one moment: the commit's hash, 40 hex digits, and its files by name."""

    hash: str
    files: dict[str, Remote]


def endpoint() -> str:
    """The Hub that is asked, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or PUBLIC).rstrip("/")


class Hub:
    """A connection; nothing is sent before it is asked for something.

    Raises:
        UserError: huggingface_hub is not installed.
    """

    def __init__(self) -> None:
        try:
            from huggingface_hub import HfApi, constants, get_token
            from huggingface_hub.utils import disable_progress_bars
        except ImportError:
            raise UserError("the Hub is asked by the library huggingface_hub, which is not there; "
                            "'pip install huggingface_hub'") from None
        for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET"):  # it may have been imported before us
            setattr(constants, name, os.environ.get(name, "").upper() in constants.ENV_VARS_TRUE_VALUES)
        if not sys.stderr.isatty():
            disable_progress_bars()
        self.token = get_token()
        self.api = HfApi(endpoint=endpoint(), token=self.token or False)

    def commit(self, address: Address) -> Commit:
        """The commit that a revision leads to (the newest of the main branch by default).

        Raises:
            UserError: it cannot be had; the message says why.
        """
        with self.in_words(address):
            info = self.api.model_info(address.repo, revision=address.revision, files_metadata=True)
            files = {one.rfilename: Remote(one.size or 0, one.blob_id, one.lfs.sha256 if one.lfs else None)
                     for one in info.siblings or ()}
        if not re.fullmatch("[0-9a-f]{40}", info.sha or ""):
            raise UserError(f"{endpoint()}: {address.repo} has no commit; push a bundle there first")
        pinned = re.fullmatch("[0-9a-f]{40}", address.revision or "")
        if pinned and info.sha != address.revision:
            raise UserError(f"{endpoint()}: asked for the commit {address.revision} of {address.repo} and was given "
                            f"{info.sha}; nothing was fetched")
        return Commit(info.sha, files)

    def fetch(self, address: Address, commit: str, name: str, folder: Path) -> None:
        """Bring one file of a commit into ``folder``, unless it is there. The library's notes on what is there already
        lie in ``folder/.cache``.

        Raises:
            UserError: it cannot be had; the message says why.
        """
        with self.in_words(address):
            self.api.hf_hub_download(address.repo, name, revision=commit, local_dir=folder,
                                     cache_dir=folder / ".cache" / "none")

    @contextlib.contextmanager
    def in_words(self, address: Address, writing: bool = False) -> Iterator[None]:
        """Turn what the library raises into a :class:`UserError` of one line that says what to do."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if not (isinstance(error, _KNOWN) or _is_of_http(error)):
                raise
            message = self._words(_first_cause(error), address, writing)
            raise UserError(message.replace(self.token, "...") if self.token else message) from None

    def _words(self, error: BaseException, address: Address, writing: bool) -> str:
        from huggingface_hub import errors

        repo = address.repo
        if isinstance(error, errors.OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set, so the Hub is not asked; unset it and try again"
        if isinstance(error, errors.GatedRepoError):
            return f"{repo}: its owner decides who may read it; ask at {endpoint()}/{repo}, then come with your token"
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{repo} has no revision {address.revision}; {endpoint()}/{repo}/commits/main lists those there are"
        if isinstance(error, errors.RemoteEntryNotFoundError):
            return f"{repo}: a file is gone from the commit ({_line(error.server_message)}); pull again"
        if isinstance(error, errors.HfHubHTTPError):
            return self._status(error, repo, writing)
        if isinstance(error, (json.JSONDecodeError, KeyError, TypeError, errors.FileMetadataError)):
            return (f"{endpoint()} did not answer as a Hub does; is HF_ENDPOINT right, and is there no login page of "
                    "the network in between?")
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk is full{_file(error)}; free some space, the same command goes on from there"
        if _is_of_http(error) or isinstance(error, ConnectionError):
            return (f"{endpoint()} cannot be reached ({_line(error) or type(error).__name__}); is there a network? The "
                    "same command goes on from there")
        if isinstance(error, OSError) and error.errno:
            return f"{error.strerror}{_file(error)}"
        return f"{repo}: {_line(error) or type(error).__name__}"

    def _status(self, error, repo: str, writing: bool) -> str:
        """Of an answer that is an error: what its status means here."""
        status, said = error.response.status_code, _line(error.server_message)
        said = f" ({said})" if said else ""
        known = "Invalid credentials" not in said
        if status == 401 and self.token and (writing or not known):
            return (f"the Hub does not take this token{said}; make another at {endpoint()}/settings/tokens, and set "
                    "HF_TOKEN to it or log in with 'hf auth login'")
        if status in (401, 404):
            why = "your token may not see it" if self.token else "you gave no token (HF_TOKEN, or 'hf auth login')"
            return f"{repo}: there is no such repository, or it is private and {why}; check the name"
        if status == 403 and writing:
            return (f"{repo}: this token may not write there{said}; it needs the permission to write, and "
                    f"{repo.partition('/')[0]} must be you or an organisation of yours: {endpoint()}/settings/tokens")
        if status == 403:
            return f"{repo}: may not be read with {'this token' if self.token else 'no token'}{said}; ask its owner"
        if status == 429:
            return f"the Hub takes no more requests for now{_wait(error.response.headers)}; the same command goes on"
        if status >= 500:
            return f"the Hub has trouble of its own, status {status}{said}; try again later, the same command goes on"
        return f"{repo}: the Hub refused, status {status}{said}"


def _first_cause(error: BaseException) -> BaseException:
    """What the library's wrapping errors (of an upload, of a file that is not in its cache) were raised from."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while error.__cause__ is not None and (isinstance(error, LocalEntryNotFoundError) or type(error) is RuntimeError):
        error = error.__cause__
    return error


def _is_of_http(error: BaseException) -> bool:
    """Whether it is one of the HTTP library, httpx or its successor, that huggingface_hub stands on."""
    from huggingface_hub.errors import HfHubHTTPError

    return any(isinstance(error, base) for base in HfHubHTTPError.__bases__ if base is not OSError)


def _line(said: object) -> str:
    """The first line of what somebody said."""
    lines = str(said or "").strip().splitlines()
    return lines[0].strip()[:200] if lines else ""


def _file(error: OSError) -> str:
    return f": {error.filename}" if error.filename else ""


def _wait(headers) -> str:
    """When to try again, by the headers ``Retry-After`` or ``RateLimit`` (seconds)."""
    found = re.match(r"(\d+)$", headers.get("retry-after", "")) or re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
    return f"; try again in {found[1]} s" if found else "; try again in some minutes"
