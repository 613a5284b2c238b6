"""A bundle to the Hub, in one commit: its files, a model card, and samples where they are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import Bundle, find_bundle
from audiocraft_ext.hub import card
from audiocraft_ext.hub.files import CARD, MODEL, SAMPLE, SOUNDS, check_names, is_hidden
from audiocraft_ext.hub.service import Address, Commit, Hub, endpoint


class Pushed(NamedTuple):
    """What a push left on the Hub: ``url`` is its page, ``commit`` 40 hex digits, ``fresh`` whether it is new."""

    repo: str
    commit: str
    url: str
    fresh: bool


def push(bundle: str | Path, repo: str, *, samples: Sequence[str | Path] = (), private: bool = False,
         say: Callable[[str], object] = print) -> Pushed:
    """Send a bundle to ``owner/name``, which is made if it is not there; what it held of an earlier one goes.

    Args:
        bundle: a folder, or the name of one that ships; its hashes are compared first.
        samples: files of sound or MIDI that the card plays.
        private: whether a repository that is made is for its owner alone.
        say: takes a line at a time.

    Raises:
        UserError: it cannot be sent, or something else is there; then nothing was changed on the Hub.
    """
    address = _place(repo)
    files = contents(bundle, address, samples)
    hub = Hub()
    if not hub.token:
        raise UserError("the Hub has to know who pushes: set HF_TOKEN to a token that may write, or log in with 'hf "
                        f"auth login'; {endpoint()}/settings/tokens makes one")
    before = _commit_before(hub, address, private, say)
    _check_taken(before, address)
    gone = [name for name in before.files if not is_hidden(name) and name not in files]
    size = sum(len(one) if isinstance(one, bytes) else one.stat().st_size for one in files.values())
    say(f"sending {len(files)} files, {size / 1e6:.1f} MB, to {endpoint()}/{address.repo} ...")
    commit = _send(hub, address, files, gone, before.hash)
    return Pushed(address.repo, commit, f"{endpoint()}/{address.repo}", commit != before.hash)


def contents(bundle: str | Path, repo: str | Address, samples: Sequence[str | Path] = ()) -> dict[str, Path | bytes]:
    """What a push to ``repo`` sends: names in the repository, each with the file here or its bytes.

    Raises:
        UserError: no bundle, a damaged one, or one that holds something else.
    """
    address = _place(repo) if isinstance(repo, str) else repo
    opened = Bundle(find_bundle(bundle))
    opened.verify()
    advice = f"a push sends nothing else; take it out of {opened.path}"
    there = sorted(path.name + "/" * path.is_dir() for path in opened.path.iterdir())
    names = check_names(there, str(opened.path), advice)
    files: dict[str, Path | bytes] = {name: opened.path / name for name in names}
    files |= _named(samples, files)
    if CARD not in files or card.MARK in (opened.path / CARD).read_text("utf-8", "replace"):
        files[CARD] = card.write(opened, address, sorted(files)).encode()
    return files


def _place(repo: str) -> Address:
    address = Address.of(repo)
    if address.revision:
        raise UserError(f"a push makes a new version, so it has none yet: expected {address.repo}, got {repo}")
    return address


def _named(samples: Sequence[str | Path], taken: Mapping[str, object]) -> dict[str, Path]:
    """Samples by the names that they get: ``sample.wav``, ``sample2.wav``."""
    found: dict[str, Path] = {}
    for path in map(Path, samples):
        ending = path.suffix.lower().replace(".midi", ".mid")
        if ending not in SOUNDS or not path.is_file():
            why = "no such file" if ending in SOUNDS else f"expected a file that ends in {', '.join(SOUNDS)}"
            raise UserError(f"--sample {path}: {why}")
        number = 1
        while (name := f"{SAMPLE}{'' if number == 1 else number}{ending}") in found or name in taken:
            number += 1
        found[name] = path
    return found


def _commit_before(hub: Hub, address: Address, private: bool, say: Callable[[str], object]) -> Commit:
    """What is there, in a repository that is made if there is none."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    with hub.in_words(address, writing=True):
        try:
            hub.api.model_info(address.repo)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            hub.api.create_repo(address.repo, private=private or None, exist_ok=True)
            say(f"made {'the private' if private else 'the'} repository {address.repo}")
    return hub.commit(address)


def _check_taken(before: Commit, address: Address) -> None:
    """Raise a :class:`UserError` if the repository is somebody's other model."""
    advice = "choose another name, or clear it on its page"
    names = check_names(before.files, f"{address.repo} on the Hub", advice)
    if MODEL not in names and not all(name.lower().endswith(".md") for name in names):
        raise UserError(f"{address.repo} on the Hub holds {', '.join(names[:3])} and no {MODEL}, so it is another "
                        f"model; {advice}")


def _send(hub: Hub, address: Address, files: Mapping[str, Path | bytes], gone: Sequence[str], parent: str) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations = [*(CommitOperationAdd(name, one) for name, one in files.items()),
                  *(CommitOperationDelete(name) for name in gone)]
    with hub.in_words(address, writing=True):
        return hub.api.create_commit(address.repo, operations, commit_message="A micro-musicgen bundle",
                                     parent_commit=parent).oid
