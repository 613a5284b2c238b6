"""Codes to sound, piece by piece and yet as if at once, in ONNX Runtime.

A decoder whose memory grew with the clip would need 1.8 GB for ten seconds of EnCodec. What a piece needs of its
neighbours is little (:mod:`audiocraft_ext.audio.codec.onnx` says what), so a clip of any length is decoded in constant
memory, while it is still being sampled. The joins are no joins: the sound differs from that of one piece by rounding
only (tests/audio/test_decoder.py).

:class:`Front` turns codes into pieces of features, in order and for a whole batch (reading its weights is most of its
work); :func:`sound` turns a piece of one clip into sound, in any order and beside others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

# Frames, where front.onnx does not say. A cold clip of 10 s of EnCodec took 3.3 s and 470 MB with 50, 3.6 s and 420
# MB with 25.
PIECE = 32


@dataclass(frozen=True, eq=False)
class Piece:
    """``features float32 [B, C, F]``, of which the frames from ``begin`` to ``end`` are this piece's own."""

    features: np.ndarray
    begin: int
    end: int


class Front:
    """Some clips' way through ``front.onnx``. What comes is a function of the codes, not of how they arrive.

    Args:
        session: of a bundle's ``front.onnx``; many can share it.
        batch: B, how many clips.
    """

    def __init__(self, session: ort.InferenceSession, batch: int = 1):
        self._session = session
        meta = session.get_modelmeta().custom_metadata_map
        self._front, self._reach = int(meta["front"]), int(meta["reach"])
        self._size = int(meta.get("piece", PIECE))
        shapes = {i.name: i.shape for i in session.get_inputs()}
        channels, self._state = session.get_outputs()[-1 if "state" not in shapes else 1].shape[1], None
        if "state" in shapes:
            self._state = np.zeros((shapes["state"][0], batch, shapes["state"][2]), np.float32)
        self._features = np.zeros((batch, channels, 0), np.float32)  # of the frames from _features_at on
        self._codes = np.zeros((batch, shapes["codes"][1], 0), np.int64)  # of the frames from _codes_at on
        self._codes_at = self._features_at = self._done = 0

    def push(self, codes: np.ndarray, last: bool = False) -> Iterator[Piece]:
        """More codes ``[B, K, t]``, t may be 0; yields the pieces whose sound is certain by now.

        Args:
            last: no more will come; all that is left is given out.
        """
        assert codes.shape[:2] == self._codes.shape[:2], f"expected {self._codes.shape[:2]}, got {codes.shape}"
        self._codes = np.concatenate([self._codes, codes], axis=2)
        known = self._codes_at + self._codes.shape[2]
        while known >= (end := self._done + self._size) + self._reach + self._front:
            yield self._piece(end, known)
        if last and known > self._done:
            yield self._piece(known, known)

    def _piece(self, end: int, known: int) -> Piece:
        """The frames from the last piece's end to ``end``, with their neighbours."""
        at = self._features_at + self._features.shape[2]  # features are known up to here
        upto = min(end + self._reach, known)  # the LSTM runs up to there
        if upto > at:
            self._features = np.concatenate([self._features, self._run(at, upto, known)], axis=2)
        piece = Piece(self._features[..., : upto - self._features_at], self._done - self._features_at,
                      end - self._features_at)
        before = max(0, end - self._reach)
        self._features, self._features_at = self._features[..., before - self._features_at :], before
        self._done = end
        return piece

    def _run(self, at: int, upto: int, known: int) -> np.ndarray:
        """Features of the frames from ``at`` to ``upto``."""
        sees = min(upto + self._front, known)
        codes = np.ascontiguousarray(self._codes[..., : sees - self._codes_at])
        if self._state is None:  # no LSTM, no convolution before it: a code is a feature
            features = self._session.run(["features"], {"codes": codes[..., at - self._codes_at :]})[0]
        else:
            cut = np.array([at - self._codes_at, sees - upto])
            features, self._state = self._session.run(["features", "state_after"],
                                                      {"codes": codes, "cut": cut, "state": self._state})
        before = max(0, upto - self._front)
        self._codes, self._codes_at = self._codes[..., before - self._codes_at :], before
        return features


def sound(session: ort.InferenceSession, piece: Piece, row: int) -> np.ndarray:
    """The sound of a piece of clip ``row``, ``wav float32 [n]``; ``session`` of ``back.onnx``."""
    wav = session.run(["wav"], {"features": np.ascontiguousarray(piece.features[row : row + 1])})[0][0, 0]
    hop = len(wav) // piece.features.shape[2]
    return wav[piece.begin * hop : piece.end * hop]
