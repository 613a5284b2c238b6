"""Which learning rate does my music want? Five, each twice the last, all else as in the nano recipe.

    python -m data_prep.audio YOUR_FOLDER stores/jungle
    dora grid lr --html lr.html

Look at: the lowest validation loss, and whether it lies at an end of the row (then the answer is outside). A run that
explodes ends by itself and says so. By ear: is the one with the lowest loss the one you would keep?
How long: each run is the 400 updates of `make demo`, whose training took 131 s on two CPU cores.
"""

from audiocraft_ext.grids._explorer import grid


@grid
def explorer(launcher):
    launcher.slurm_(gpus=1, mem_per_gpu=8, time=60)
    launcher.bind_(solver="musicgen/nano_32khz", dset="audio/jungle")
    for lr in (5e-4, 1e-3, 2e-3, 4e-3, 8e-3):
        launcher({"optim.lr": lr})
