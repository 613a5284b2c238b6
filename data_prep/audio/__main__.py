"""``python -m data_prep.audio``"""

from audiocraft_ext.core.errors import run_cli
from data_prep.audio.cli import main

if __name__ == "__main__":
    run_cli(main)
