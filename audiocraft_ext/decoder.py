"""Codes to sound, piece by piece and yet as if at once (level 1: ONNX Runtime, no torch).

A decoder whose memory grew with the clip would need 1.8 GB for ten seconds of EnCodec. What a piece needs of its
neighbours is little (:mod:`audiocraft_ext.onnx_codec` says what), so a clip of any length is decoded in constant
memory, while it is still being sampled. The joins are no joins: the sound differs from that of one piece by rounding
only (tests/test_decoder.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime as ort

PIECE = 50  # frames: a second of sound. Larger pieces are no faster, smaller ones repeat more of their neighbours


class StreamDecoder:
    """One clip's way through ``decoder.onnx``. The sound is a function of the codes, not of how they arrive.

    Args:
        session: of a bundle's ``decoder.onnx``; many clips can share it.
    """

    def __init__(self, session: ort.InferenceSession):
        self._session = session
        meta = session.get_modelmeta().custom_metadata_map
        self._front, self._reach = int(meta["front"]), int(meta["reach"])
        shapes = {i.name: i.shape for i in session.get_inputs()}
        self._n_q, self._channels = shapes["codes"][1], shapes["past"][1]
        self._state = np.zeros(shapes["state"], np.float32) if "state" in shapes else None
        self._past = np.zeros((1, self._channels, 0), np.float32)  # features of the frames [_past_at, _featured)
        self._codes = np.zeros((self._n_q, 0), np.int64)  # of the frames from _codes_at on
        self._codes_at = self._past_at = self._featured = self._done = 0

    def push(self, codes: np.ndarray, last: bool = False) -> Iterator[np.ndarray]:
        """More codes ``[K, t]``, t may be 0; yields the sound that is certain by now, ``wav float32 [n]`` in pieces.

        Args:
            last: no more will come; all that is left is decoded.
        """
        assert codes.shape[0] == self._n_q, f"expected codes [{self._n_q}, t], got {list(codes.shape)}"
        self._codes = np.concatenate([self._codes, codes], axis=1)
        known = self._codes_at + self._codes.shape[1]
        while known >= (end := self._done + PIECE) + self._reach + self._front:
            yield self._decode(end, known)
        if last and known > self._done:
            yield self._decode(known, known)

    def _decode(self, end: int, known: int) -> np.ndarray:
        """The sound of the frames from the last piece's end to ``end``."""
        featured = min(end + self._reach, known)  # the LSTM runs up to there
        upto = min(featured + self._front, known)  # and its convolution sees up to there
        codes = np.ascontiguousarray(self._codes[None, :, : upto - self._codes_at])
        if self._state is None:  # no LSTM, no convolution before it: a code is a feature
            feed = {"codes": codes[..., self._featured - self._codes_at :], "past": self._past}
        else:
            cut = np.array([self._featured - self._codes_at, upto - featured])
            feed = {"codes": codes, "past": self._past, "cut": cut, "state": self._state}
        names = ["wav", "features", *(["state_after"] if self._state is not None else [])]
        wav, features, *state = self._session.run(names, feed)
        if state:
            self._state = state[0]
        hop = wav.shape[-1] // features.shape[-1]
        piece = wav[0, 0, (self._done - self._past_at) * hop : (end - self._past_at) * hop]
        past_at, codes_at = max(0, end - self._reach), max(0, featured - self._front)
        self._past = features[..., past_at - self._past_at :]
        self._codes = self._codes[:, codes_at - self._codes_at :]
        self._past_at, self._codes_at, self._featured, self._done = past_at, codes_at, featured, end
        return piece


def decode(session: ort.InferenceSession, codes: np.ndarray) -> np.ndarray:
    """``codes [K, T]``, T > 0, to ``wav float32 [N]``, N = T * hop length."""
    return np.concatenate(list(StreamDecoder(session).push(codes, last=True)))
