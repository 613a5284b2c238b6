"""Grids: ``dora grid NAME`` runs what ``NAME.py`` here lists."""
