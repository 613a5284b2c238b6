"""What a model that only knows how often each code occurs would score: the loss that any model must get under."""

from __future__ import annotations

import numpy as np

from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.store.reader import TokenStore


def code_counts(store: TokenStore, split: str) -> np.ndarray:
    """``[K, card]``: how often each code of each stream occurs in one split; not what a closed gate decides."""
    spec = store.spec
    counts, gate_of = np.zeros((spec.n_q, spec.card), dtype=np.int64), {gate.stream: gate for gate in spec.gates}
    for track in store.tracks(split):
        codes = store.read(track.start, track.frames)
        for k in range(spec.n_q):
            gate = gate_of.get(k)
            counted = codes[k] if gate is None else codes[k][gate.open(codes[gate.gate])]
            counts[k] += np.bincount(counted, minlength=spec.card)
    return counts


def entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy in nats of each row of counts ``[K, card]``."""
    p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=1)


def unigram_loss(store: TokenStore) -> np.ndarray:
    """Cross entropy ``[K]`` in nats of the valid codes under the train counts, each plus one; what a closed gate
    decides costs nothing."""
    spec = store.spec
    possible = np.arange(spec.card) < np.array([[spec.size(k)] for k in range(spec.n_q)])
    known = code_counts(store, TRAIN) + possible
    seen = code_counts(store, VALID)
    log_p = np.log(np.where(possible, known, 1) / known.sum(axis=1, keepdims=True))
    return -(seen * possible * log_p).sum(axis=1) / sum(track.frames for track in store.tracks(VALID))


def summary(store: TokenStore) -> dict[str, float]:
    """Means over the streams that have a choice, in nats a code."""
    both = code_counts(store, TRAIN) + code_counts(store, VALID)
    chosen = np.array([store.spec.size(k) > 1 for k in range(store.spec.n_q)])
    return {"unigram_loss": float(unigram_loss(store)[chosen].mean()),
            "unigram_entropy": float(entropy(both)[chosen].mean())}


def line(store: TokenStore) -> str:
    """One line for the log."""
    numbers = summary(store)
    return (f"unigram: {numbers['unigram_loss']:.3f} nats a code is what knowing only the frequencies scores on valid "
            f"(entropy of all codes {numbers['unigram_entropy']:.3f}, uniform {np.log(store.spec.card):.3f})")
