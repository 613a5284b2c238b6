"""``python -m data_prep.breaks``"""

from audiocraft_ext.core.errors import run_cli
from data_prep.breaks.render import main

if __name__ == "__main__":
    run_cli(main)
