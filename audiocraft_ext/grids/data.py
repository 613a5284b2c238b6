"""How little data, how little training? Shares of the music by lengths of the run, at the nano scale.

    python -m data_prep.audio YOUR_FOLDER stores/jungle
    dora grid data --html data.html

A model that is half done is an instrument of its own: texture without form, or the same bar in a bad dream. Nine places
on the way there: all of the music, a quarter, a sixteenth (whole files, each share a part of the larger one:
dataset.train.share); 100, 400, 1600 updates, each a whole run with a cosine of its own.
Look at: `train` far below `valid` is learning by heart. By ear: what comes again from clip to clip of one run, and do
you know it from a file? Where does a beat begin, where does it become the folder's?
How long: as many updates as 16 times `make demo`, whose training took 131 s on two CPU cores.
"""

from audiocraft_ext.grids._explorer import grid


@grid
def explorer(launcher):
    launcher.slurm_(gpus=1, mem_per_gpu=8, time=120)
    launcher.bind_(solver="musicgen/nano_32khz", dset="audio/jungle")
    for share in (1 / 16, 1 / 4, 1.0):
        for epochs in (2, 8, 32):  # of 50 updates
            launcher({"dataset.train.share": share, "optim.epochs": epochs, "generate.num_samples": 4})
