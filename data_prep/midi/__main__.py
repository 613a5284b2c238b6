"""``python -m data_prep.midi``"""

from audiocraft_ext.core.errors import run_cli
from data_prep.midi.cli import main

if __name__ == "__main__":
    run_cli(main)
