"""Tiny music language models, trained from scratch and played like an instrument.

Importing this costs nothing; ``from audiocraft_ext import Instrument`` loads what sampling needs, and no torch.
"""


def __getattr__(name: str):
    if name == "Instrument":
        from audiocraft_ext.audio.instrument import Instrument

        return Instrument
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
