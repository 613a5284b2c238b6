"""``python -m audiocraft_ext.codecs.train``; its room is audiocraft_ext/audio/codec/"""

from audiocraft_ext.audio.codec.train import main
from audiocraft_ext.core.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
