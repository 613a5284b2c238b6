"""Gates by value and in chains: the loss and both sampling loops ask one rule."""

import numpy as np
import pytest
import torch

from audiocraft_ext.core.delay import delay
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.gates import Gate, Gates
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN
from audiocraft_ext.engine.sampler import SOME, UNKNOWN, generate
from audiocraft_ext.engine.sampling import Sampling, clip_rng, sample
from audiocraft_ext.engine.torch.loop import TorchLoop, TorchStepper
from audiocraft_ext.model.head_loss import IGNORE
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.store.baseline import code_counts
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.store.writer import StoreWriter

CARD, FRAMES, SEED = 6, 40, 11
CFG = LMConfig(n_q=5, card=CARD, dim=32, num_heads=2, num_layers=2)
SORTS = {
    "old": ((2, 0, 1), (3, 1, 2)),
    "sets": ((1, 0, 5, (1, 4)), (2, 0, 3, (2,)), (3, 0, 0, (0, 2, 5))),
    "chain": ((0, 4, 2), (3, 0, 1, (2, 3)), (1, 3, 0, (1, 2))),  # 4 opens 0 opens 3 opens 1; some rest codes open
    "shared": ((1, 0, 0, (1, 2, 3)), (2, 1, 4), (3, 1, 5, (0, 4)), (4, 3, 1, (5,))),
}
DELAYS = {"parallel": (0,) * 5, "delay": (1, 3, 3, 2, 0), "late": (0, 2, 2, 3, 4)}
HOW = [Sampling(1.7, 0), Sampling(0.8, 4), Sampling(0.0)]
CASES = [(sort, "parallel") for sort in SORTS] + [(sort, "delay" if sort == "chain" else "late") for sort in SORTS]


def spec_of(sort: str, delays: str) -> Spec:
    return Spec("test", 5, CARD, 10.0, DELAYS[delays], "none", "0", gates=SORTS[sort])


def model_of(spec: Spec) -> LM:
    torch.manual_seed(3)
    lm = LM(CFG, spec.delays, spec.sizes, spec.gates).eval().requires_grad_(False)
    for linear in lm.linears:
        linear.weight.mul_(2)
    return lm


def opens(gate, code: int) -> bool:
    return code in gate[3] if len(gate) > 3 else code != 0


@torch.no_grad()
def twin(lm: LM, spec: Spec, clips: int, sampling: Sampling, given: np.ndarray) -> tuple[np.ndarray, set]:
    """The loop as plainly as can be: the whole sequence is read anew for each step, and each stream is decided by
    itself, its gate before it. Returns the codes and what was left out, ``(clip, stream, frame)``."""
    gates = {gate[0]: gate for gate in (g.to_list() for g in spec.gates)}
    codes = np.repeat(given[None], clips, axis=0)
    uniforms = [clip_rng(SEED, i).random((FRAMES + max(spec.delays) + 1, 5)) for i in range(clips)]
    either_or = np.array(sorted({g[1] for g in gates.values() if len(g) == 3}), np.int64)
    left_out = set()

    def decide(b: int, s: int, k: int, drawn: np.ndarray) -> None:
        t = s - 1 - spec.delays[k]
        if not 0 <= t < FRAMES or codes[b, k, t] >= 0:
            return
        if k in gates:
            _, source, rest, *_ = gates[k]
            decide(b, s, source, drawn)
            if not opens(gates[k], codes[b, source, t]):
                codes[b, k, t] = rest
                left_out.add((b, k, t))
                return
        codes[b, k, t] = drawn[k]

    for b in range(clips):
        for s in range(1, FRAMES + max(spec.delays) + 1):
            sequence = delay(np.where(codes[b : b + 1] < 0, 0, codes[b : b + 1]), spec.delays, CARD)[..., :s]
            logits = lm(torch.from_numpy(sequence))[:, :, -1].numpy()
            for k, d in enumerate(spec.delays):
                if 0 <= s - 1 - d < FRAMES and codes[b, k, s - 1 - d] == SOME:
                    logits[0, k, 0] = -np.inf
            drawn = sample(logits, sampling, uniforms[b][s : s + 1], either_or)[0]
            for k in range(5):
                decide(b, s, k, drawn)
    return codes, left_out


def asked() -> np.ndarray:
    given = np.full((5, FRAMES), UNKNOWN)
    given[4, 10:20] = 3
    given[0, 5:30:4] = SOME
    return given


@pytest.mark.parametrize(("sort", "delays"), CASES)
def test_both_loops_and_the_loss_keep_one_rule(sort, delays):
    spec = spec_of(sort, delays)
    lm = model_of(spec)
    for how in HOW:
        codes, left_out = twin(lm, spec, 2, how, asked())
        settings = dict(seed=SEED, sampling=how, given=asked())
        assert (generate(TorchStepper(lm), spec, range(2), FRAMES, **settings) == codes).all()
        assert (generate(TorchLoop(lm, "cpu"), spec, range(2), FRAMES, **settings) == codes).all()
        labels = lm._labels(torch.from_numpy(codes)).numpy()
        ignored = {tuple(map(int, place)) for place in np.argwhere(labels == IGNORE)}
        given = {(b, k, t) for b in range(2) for k, t in np.argwhere(asked() >= 0)}
        assert left_out == ignored - given
        assert left_out or how.temperature == 0


def test_one_loop_plays_specs_of_other_gates():
    """Its graphs and its sampler are those of the gates that it was last told."""
    loop, lm = None, model_of(spec_of("sets", "parallel"))
    for sort in ("sets", "old", "chain", "sets"):
        spec = spec_of(sort, "parallel")
        loop = loop or TorchLoop(lm, "cpu")
        settings = dict(seed=1, sampling=Sampling(0.7))
        mine = generate(TorchStepper(lm), spec, range(2), FRAMES, **settings)
        assert (generate(loop, spec, range(2), FRAMES, **settings) == mine).all()


def test_only_what_is_nothing_or_something_is_drawn_so():
    assert Gates(spec_of("old", "parallel").gates, (0,) * 5, CARD).sources.tolist() == [0, 1]
    assert Gates(spec_of("sets", "parallel").gates, (0,) * 5, CARD).sources.tolist() == []
    assert Gates(spec_of("shared", "parallel").gates, (0,) * 5, CARD).sources.tolist() == [1]


def test_gates_of_both_sorts_go_through_json():
    spec = spec_of("sets", "parallel")
    assert spec.gates[0] == Gate(1, 0, 5, (1, 4)) and Spec.from_dict(spec.to_dict()) == spec
    assert spec.to_dict()["gates"][0] == [1, 0, 5, [1, 4]]
    assert spec_of("old", "parallel").to_dict()["gates"] == [[2, 0, 1], [3, 1, 2]]
    with pytest.raises(UserError, match="gates"):
        spec.check_same_stream(spec_of("old", "parallel"), "a", "b")


def test_baselines_count_what_a_gate_lets_through(tmp_path):
    spec = spec_of("sets", "parallel")
    codes = np.random.default_rng(0).integers(0, CARD, (5, 200))
    with StoreWriter(tmp_path / "store", spec, {}) as writer:
        writer.add("a", TRAIN, codes, {})
        writer.finish()
    counts = code_counts(TokenStore(tmp_path / "store"), TRAIN)
    for stream, source, _, codes_of in SORTS["sets"]:
        said = codes[stream][np.isin(codes[source], codes_of)]
        assert (counts[stream] == np.bincount(said, minlength=CARD)).all()


def test_a_chain_rests_all_the_way_down():
    """By hand: 4 rests at 0, so 0 rests at 2, which opens 3 but for what it holds itself."""
    gates = Gates(spec_of("chain", "parallel").gates, (0,) * 5, CARD)
    sequence = np.array([[5, 5, 5, 5, 0], [3, 5, 5, 4, 1], [4, 5, 5, 2, 1]])[..., None]
    gates.close(sequence, 0, np.ones((3, 5), bool))
    assert sequence[..., 0].tolist() == [[2, 0, 5, 5, 0], [3, 0, 5, 4, 1], [4, 5, 5, 1, 1]]
