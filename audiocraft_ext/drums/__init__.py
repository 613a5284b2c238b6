"""The drum end of the house: what only drums know. The shared parts reach it by :mod:`audiocraft_ext.ends`."""
