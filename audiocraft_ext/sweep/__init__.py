"""Grids of runs: Dora's own, with a queue on this machine beside Slurm, a table and a page to compare by ear."""
