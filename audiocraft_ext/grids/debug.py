"""Does it all work? Two widths at two learning rates, on the debug codec: noise in, noise out.

    dora grid debug

Four runs of a few seconds each, on a CPU. The store stores/debug is made from the breaks that ship when it is missing.
Look at: four runs done, the loss of dim=128 below that of dim=64, eight noisy clips.
"""

from audiocraft_ext.grids._explorer import grid, shipped_breaks


@grid
def explorer(launcher):
    shipped_breaks("debug", "--codec", "debug", "--valid-share", "0.25")
    launcher.slurm_(gpus=0, cpus_per_gpu=1, mem_per_gpu=2, time=10)
    launcher.bind_({"solver": "musicgen/debug", "dset": "audio/debug", "device": "cpu",
                    "optim.epochs": 4, "optim.updates_per_epoch": 20,
                    "dataset.batch_size": 4, "dataset.valid.num_samples": 8, "generate.num_samples": 2})
    for dim in (64, 128):
        for lr in (1e-3, 1e-2):
            launcher({"transformer_lm.dim": dim, "optim.lr": lr})
