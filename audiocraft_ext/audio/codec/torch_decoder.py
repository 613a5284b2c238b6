"""Codes to sound on a GPU: the codec's torch decoder, a whole batch at a time.

The same two parts as :mod:`audiocraft_ext.audio.codec.decoder`: the layers up to the LSTM run over whole clips, which
is little work, what follows runs over pieces that know a few frames to either side, so that memory hardly grows with
the clip.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from audiocraft_ext.audio.codec.codec import load_folder
from audiocraft_ext.audio.codec.encodec import EncodecModel, back_of, reach_of

if TYPE_CHECKING:
    from audiocraft_ext.audio.engine import SoundBundle

PIECE = 500  # frames times clips: EnCodec takes 180 MB a second of sound in fp32


class TorchDecoder:
    """A codec's decoder on one device, in fp32: half precision is audible as hiss.

    Args:
        model: a codec; its encoder is not used.
    """

    def __init__(self, model: EncodecModel, device: torch.device):
        self.device, self.hop = device, model.cfg.hop_length
        self._quantizer = model.quantizer.to(device).eval()
        layers = list(model.decoder.layers)
        first = back_of(layers)
        self._front = torch.nn.Sequential(*layers[:first]).to(device).eval()
        self._back = torch.nn.Sequential(*layers[first:]).to(device).eval()
        self._reach = math.ceil(reach_of(layers[first:]))

    @torch.inference_mode()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """``codes [B, K, T]`` to ``wav float32 [B, 1, N]``, N = T * hop length."""
        features = self._front(self._quantizer.decode(torch.from_numpy(np.asarray(codes, np.int64)).to(self.device)))
        B, _, T = features.shape
        size, wavs = max(10, PIECE // B), []
        for begin in range(0, T, size):
            end = min(T, begin + size)
            left, right = max(0, begin - self._reach), min(T, end + self._reach)
            wav = self._back(features[..., left:right])
            wavs.append(wav[..., (begin - left) * self.hop : (end - left) * self.hop].cpu().numpy())
        return np.concatenate(wavs, axis=-1)


def load(bundle: SoundBundle, device: torch.device) -> TorchDecoder:
    """The decoder of a bundle."""
    return TorchDecoder(load_folder(bundle.path).model, device)
