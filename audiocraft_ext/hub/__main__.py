"""``python -m audiocraft_ext.hub``"""

from audiocraft_ext.core.errors import run_cli
from audiocraft_ext.hub.cli import main

if __name__ == "__main__":
    run_cli(main)
