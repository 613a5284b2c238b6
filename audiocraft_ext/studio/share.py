"""Share: a bundle of the workspace goes to the Hugging Face Hub, and one comes from there into ``bundles/``.

Both are jobs of ``python -m audiocraft_ext.hub``, which takes the token from HF_TOKEN or from the library's login, as
in a terminal: no token goes through the page, nor into a job's files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiocraft_ext import hub
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.hub.files import CARD
from audiocraft_ext.hub.service import Address, endpoint
from audiocraft_ext.studio.jobs import Jobs
from audiocraft_ext.studio.workspace import Workspace

HUB = ["-m", "audiocraft_ext.hub"]
MOST_SAMPLES = 8


def contents(workspace: Workspace, given: dict[str, Any]) -> dict[str, Any]:
    """What a push would send, as its ``--dry-run`` says it: ``files`` (``name``, ``bytes``), the ``card``, and the
    ``url`` of the page that they go to. Nothing is sent, and the Hub is not asked.

    Raises:
        UserError: no bundle, a damaged one, one that holds something else; no name of a repository; no sample.
    """
    address = _address(given.get("repo"), "you/name")
    files = hub.contents(workspace.bundle_path(given.get("bundle")), given["repo"], _samples(workspace, given))
    text = files[CARD] if isinstance(files[CARD], bytes) else files[CARD].read_bytes()
    return {"files": [{"name": name, "bytes": len(one) if isinstance(one, bytes) else one.stat().st_size}
                      for name, one in files.items()],
            "card": text.decode("utf-8", "replace"), "url": f"{endpoint()}/{address.repo}"}


def push(workspace: Workspace, jobs: Jobs, given: dict[str, Any]) -> dict:
    """Start a push of ``bundle`` to ``repo``; ``private`` is for a repository that is made.

    Raises:
        UserError: as for :func:`contents`; or one to the same place is under way.
    """
    url = contents(workspace, given)["url"]
    address, path = _address(given["repo"], "you/name"), workspace.bundle_path(given["bundle"])
    if any(job["about"].get("repo") == address.repo for job in jobs.running("push")):
        raise UserError(f"a push to {address.repo} is under way")
    command = [*HUB, "push", str(path), address.repo, *(f"--sample={one}" for one in _samples(workspace, given))]
    command += ["--private"] if given.get("private") is True else []
    return jobs.start("push", f"push {path.name} to {address.repo}", command, repo=address.repo, url=url)


def pull(workspace: Workspace, jobs: Jobs, given: dict[str, Any]) -> dict:
    """Start a pull of ``address`` (``owner/name[@revision]``) into ``bundles/NAME``, by default the repository's name;
    stopped or killed, the same job goes on.

    Raises:
        UserError: no address, no name, or something of that name is there.
    """
    address = _address(given.get("address"), "owner/name[@revision]")
    bundle = workspace.place("bundles", given.get("name") or address.name)
    if bundle.exists():
        raise UserError(f"bundles/{bundle.name} is there already; give the new one another name")
    if any(job["about"].get("bundle") == workspace.called(bundle) for job in jobs.running("pull")):
        raise UserError(f"bundles/{bundle.name} is being pulled already")
    bundle.parent.mkdir(exist_ok=True)
    asked = address.repo + (f"@{address.revision}" if address.revision else "")
    return jobs.start("pull", f"pull {asked}", [*HUB, "pull", asked, "-o", str(bundle)],
                      bundle=workspace.called(bundle))


def _address(text: object, expected: str) -> Address:
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"expected {expected}, a repository of {endpoint()}")
    return Address.of(text[:400])


def _samples(workspace: Workspace, given: dict[str, Any]) -> list[Path]:
    """The clips that the card shall play."""
    called = given.get("samples") or []
    if not isinstance(called, list) or len(called) > MOST_SAMPLES:
        raise UserError(f"expected a list of at most {MOST_SAMPLES} samples")
    return [workspace.path(one) for one in called]
