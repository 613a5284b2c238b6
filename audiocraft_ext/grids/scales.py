"""How large, and of what shape? From nano to micro; and at the size of either a deeper or wider one.

    python -m data_prep.audio YOUR_FOLDER stores/jungle
    dora grid scales --html scales.html

With the microcodec's 4 x 256 codes (EnCodec's 4 x 2048 weigh more in a small model; equal is not equal there):

    nano                4 layers of  192    2.17 M parameters
    wide nano           2 layers of  256    2.10 M
    deep nano           6 layers of  160    2.18 M
    tiny                6 layers of  384   11.41 M
    mini                4 layers of 1024   52.45 M
    micro               2 layers of 2048  104.89 M
    deep micro          8 layers of 1024  102.80 M

Look at: validation loss against tokens/s; whether the larger one begins to rise while it still falls in training (then
the folder is too small for it). By ear: which shape holds a beat together, which a timbre?
The recipe is that of micro_32khz, with a rate by size: 2e-3 at nano, 3e-4 at micro as in their recipes, between them by
hand. Not measured here; a GPU is what mini and micro want.
"""

from audiocraft_ext.grids._explorer import grid

SHAPES = [  # (layers, dim, heads, lr)
    (4, 192, 3, 2e-3), (2, 256, 4, 2e-3), (6, 160, 4, 2e-3), (6, 384, 6, 1e-3), (4, 1024, 8, 5e-4), (2, 2048, 2, 3e-4),
    (8, 1024, 8, 3e-4),
]


@grid
def explorer(launcher):
    launcher.slurm_(gpus=1, mem_per_gpu=16, time=720)
    launcher.bind_(solver="musicgen/micro_32khz", dset="audio/jungle")
    for layers, dim, heads, lr in SHAPES:
        launcher({"transformer_lm.num_layers": layers, "transformer_lm.dim": dim, "transformer_lm.num_heads": heads,
                  "optim.lr": lr})
