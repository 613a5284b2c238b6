"""``python -m audiocraft_ext.export``"""

from audiocraft_ext.core.errors import run_cli
from audiocraft_ext.export.bundle import main

if __name__ == "__main__":
    run_cli(main)
