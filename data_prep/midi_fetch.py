"""``python -m data_prep.midi_fetch``; its room is data_prep/midi/"""

from audiocraft_ext.core.errors import run_cli
from data_prep.midi.fetch import main

if __name__ == "__main__":
    run_cli(main)
