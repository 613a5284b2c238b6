"""The run that this repository began with, and its neighbours: one thing changed at a time.

    python -m data_prep.audio YOUR_FOLDER stores/jungle
    dora grid jungle --html jungle.html

The first run is the command line of the README (solver=musicgen/musicgen_base_32khz model/lm/model_scale=micro
dataset.batch_size=3 ...), with its signature: what was begun by hand goes on here. Its neighbours: a higher rate, more
decay, shorter clips in larger batches (as many seconds an update), half the width and twice the depth, our own recipe.
Look at: which neighbour is below the first run at equal steps; by ear, what becomes of the break after its first bar.
How long: as long as you let it. The recipe says a million updates; a producer stops long before, when it sounds right
(`dora grid jungle --cancel` keeps everything), and every 5 epochs there are clips and a checkpoint.
"""

from audiocraft_ext.grids._explorer import grid

SEED = ["solver=musicgen/musicgen_base_32khz", "model/lm/model_scale=micro", "conditioner=none", "dataset.batch_size=3",
        "dset=audio/jungle", "dataset.valid.num_samples=1", "evaluate.every=10000", "optim.optimizer=adamw",
        "optim.lr=1e-4", "optim.adam.weight_decay=0.01", "checkpoint.save_every=5", "generate.every=5"]


@grid
def explorer(launcher):
    launcher.slurm_(gpus=1, mem_per_gpu=16, time=1440)
    seed = launcher.bind(SEED)
    seed()
    seed({"optim.lr": 3e-4})
    seed({"optim.adam.weight_decay": 0.1})
    seed({"dataset.segment_duration": 10, "dataset.batch_size": 9})
    seed({"model/lm/model_scale": "mini"})
    launcher(["solver=musicgen/micro_32khz", "dset=audio/jungle", "dataset.valid.num_samples=1", "generate.every=5"])
