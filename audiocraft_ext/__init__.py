"""Tiny music language models, trained from scratch and played like an instrument.

Importing this costs nothing; ``from audiocraft_ext import Instrument`` loads what sampling needs, and no torch.

No program of ours tells anybody that it runs. ONNX Runtime 1.31, left to itself, writes an identity of the device below
the home folder and looks up its maker's host; each library that has such a habit is told no here, before anything of
ours can import it, and so is every process that is started from here. Whoever wants it sets the variable himself.
"""

import os

SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, transformers
    "HF_HUB_DISABLE_XET": "1",  # its other way to transfer files, which keeps chunks and logs below the home folder
    "GRADIO_ANALYTICS_ENABLED": "False",  # trackio is built on gradio
    "WANDB_ERROR_REPORTING": "false",  # wandb's reports of its own errors; runs go there only if asked to
    "DO_NOT_TRACK": "1",  # whoever else listens (https://consoledonottrack.com)
}
for _name, _value in SILENT.items():
    os.environ.setdefault(_name, _value)


def __getattr__(name: str):
    if name == "Instrument":
        from audiocraft_ext.audio.instrument import Instrument

        return Instrument
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
