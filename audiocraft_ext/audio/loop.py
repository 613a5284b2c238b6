"""Seamless loops: a clip whose end leads into its start, to the sample.

1. **Endings.** The last half beat of the clip is sampled again a few times, past the end into the beginning, which is
   given: with delayed codebooks the deeper codes of the last frames are chosen when the first codes of the beginning
   are known already. The ending that the clip had is a candidate like the others.
2. **The best join** has the best sum of two ranks: how likely the LM holds the beginning after the ending (code match),
   and how little the spectrum changes where they meet (spectral match). Drawing several endings without sight of what
   follows, and ranking them by how likely it is after each, is a way to sample a gap whose both sides are fixed.
3. **One turn.** The codes are decoded round and round: the decoder comes to the start from the end, two seconds of it,
   and continues behind the end with the start. What is left of its first, shorter past is crossfaded.
4. **Length.** A tempo does not lie on the grid of frames: bars are up to half a frame longer or shorter than their
   codes. So the turn is played faster or slower by that, as the Fourier series that a period is
   (:func:`audiocraft_ext.sound.level.resample_loop`), and is then a period of exactly as many samples. At 50 frames a
   second that is at most 17 cents divided by the seconds of the loop: 6 for two bars at 160 BPM, 46 for one beat. To
   crossfade over the missing piece instead would keep the pitch and mix the sound with itself up to 10 ms later, which
   on a held low note is its opposite wherever one does it.
5. **Zero crossing.** The turn is rotated by up to 5 ms, so that the file begins and ends on one zero crossing and does
   not click where it is played once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from audiocraft_ext.audio.engine import SoundBundle
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.guidance import Guide
from audiocraft_ext.engine.sampler import UNKNOWN
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.sound.bars import hop_length, loop_frames
from audiocraft_ext.sound.joins import discontinuity, percentile
from audiocraft_ext.sound.level import resample_loop

CANDIDATES, MOST_CANDIDATES = 8, 64
SHORTEST = 6  # frames: below, an ending that leads anywhere is a single frame
BEAT = 0.5  # seconds, where nobody says
HISTORY = 10.0  # seconds of context before an ending; the embedded LM was trained on 12
MATCH = 0.25  # seconds of the beginning whose codes are to follow
WARM_UP = 2.0  # seconds: then the embedded codec's LSTM is within -86 dB of where the whole turn takes it
AHEAD = 24  # frames behind a point that its sound depends on, or more: 21 with the spectral codec
CROSSFADE = 0.010  # seconds
MOST_INSIDE = 400  # joins that the one is compared with: more say no more
SNAP = 0.005  # seconds that the start may move to a zero crossing


class Player(Protocol):
    """What :func:`make_loop` needs of an :class:`audiocraft_ext.audio.engine.SoundEngine`."""

    bundle: SoundBundle
    spec: Spec

    def generate(self, clips: Sequence[int], frames: int, *, seed: int, sampling: Sampling | None,
                 given: np.ndarray | None, controls: np.ndarray | None, guide: Guide | None) -> np.ndarray: ...

    def score(self, codes: np.ndarray, first: int) -> np.ndarray: ...

    def decode(self, codes: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Report:
    """How the join came about, and how it compares with the joins of neighbouring frames inside the loop.

    Attributes:
        candidate: which ending was chosen; 0 is the one that the clip had.
        ending_frames: how much was sampled again.
        code_match: of each candidate, the mean log-probability of the beginning's codes after it, in nats a code.
        code_match_inside: the same of the clip's second half after its first.
        spectral_match: of each candidate, the change of spectrum at the join in dB (``Discontinuity.flux``).
        cents: how much higher it plays, for its exact length.
        moved: samples that the start was moved to a zero crossing, later in the clip where positive.
        click, flux: the join's :class:`~audiocraft_ext.sound.joins.Discontinuity`.
        click_percentile, flux_percentile: the share of joins inside that are better, 0 to 1.
        click_inside, flux_inside: 5, 50 and 95 % of those inside.
    """

    candidate: int
    ending_frames: int
    code_match: tuple[float, ...]
    code_match_inside: float
    spectral_match: tuple[float, ...]
    cents: float
    moved: int
    click: float
    click_percentile: float
    click_inside: tuple[float, ...]
    flux: float
    flux_percentile: float
    flux_inside: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with as many digits as mean something."""
        def short(value):
            if isinstance(value, tuple):
                return [short(v) for v in value]
            return round(value, 4) if isinstance(value, float) else value

        return {name: short(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Loop:
    """``wav float32 [samples]``, the ``codes int64 [K, L]`` of one turn, and how it was made."""

    wav: np.ndarray
    codes: np.ndarray
    report: Report


def make_loop(engine: Player, codes: np.ndarray, samples: int, *, seed: int, index: int = 0,
              sampling: Sampling | None = None, beat_frames: float | None = None, candidates: int = CANDIDATES,
              controls: np.ndarray | None = None, guide: Guide | None = None) -> Loop:
    """Make a clip a loop.

    A function of its arguments alone: the candidates draw from ``seed`` and indices of their own
    (:func:`candidate_index`).

    Args:
        codes: of the clip, ``[K, T]``, T at least :func:`~audiocraft_ext.sound.bars.loop_frames`; more are left out.
        samples: N, the length of the loop at the bundle's sample rate.
        seed, index, sampling: those that the clip was sampled with.
        beat_frames: a beat in frames, of which half is sampled again, but no more than a quarter of the loop.
        candidates: endings to choose from, the clip's own among them; 1 samples none.
        controls, guide: those of the clip, ``[C, T]``.

    Raises:
        UserError: too short, no sound, too few codes, or a number of candidates or an index that cannot be.
    """
    hop = _hop(engine)
    L = _checked_frames(codes, samples, engine, hop)
    codes = np.asarray(codes, np.int64)[:, :L]
    beat_frames = BEAT * engine.spec.frame_rate if beat_frames is None else beat_frames
    ending = max(1, min(round(beat_frames / 2), L // 4))
    indices = [candidate_index(index, c) for c in range(1, _checked_candidates(candidates))]
    how = dict(seed=seed, sampling=sampling, controls=controls, guide=guide)
    turns = np.concatenate([codes[None], endings(engine, codes, ending, indices, **how)])  # [J, K, L]
    code = code_match(engine, turns)
    spectral = spectral_match(engine, turns)
    chosen = int(np.argmin(_ranks(-code) + _ranks(spectral)))  # of equals the first
    wav, moved = to_zero_crossing(resample_loop(one_turn(engine, turns[chosen]), L * hop, samples),
                                  round(SNAP * engine.bundle.sample_rate))
    half = L // 2
    return Loop(wav, turns[chosen], Report(
        chosen, ending, tuple(code.tolist()), float(engine.score(codes[None], half)[0]), tuple(spectral.tolist()),
        float(1200 * np.log2(L * hop / samples)), moved, **_join(wav, L, moved, engine.bundle.sample_rate)))


def candidate_index(index: int, candidate: int) -> int:
    """The index that a candidate draws its random numbers with: above 2**63, where no clip's lies.

    Raises:
        UserError: an index for which there is none.
    """
    if not 0 <= index < 2**57:
        raise UserError(f"the index of a clip that is made a loop lies from 0 to 2**57 - 1, got {index}")
    return 2**63 + MOST_CANDIDATES * index + candidate


def endings(engine: Player, codes: np.ndarray, frames: int, indices: Sequence[int], *, seed: int,
            sampling: Sampling | None = None, controls: np.ndarray | None = None,
            guide: Guide | None = None) -> np.ndarray:
    """``codes [K, L]`` with the last ``frames`` sampled again, once for each of ``indices``: ``[J, K, L]``."""
    K, L = codes.shape
    if not len(indices):
        return np.zeros((0, K, L), np.int64)
    context = min(L, engine.spec.frames(HISTORY) + frames)
    around = np.arange(-context, max(engine.spec.delays)) % L  # and the first of the beginning
    given = codes[:, around]
    given[:, context - frames : context] = UNKNOWN
    made = engine.generate(indices, given.shape[1], seed=seed, sampling=sampling, given=given, guide=guide,
                           controls=None if controls is None else controls[:, around])
    turns = np.repeat(codes[None], len(indices), axis=0)
    turns[..., L - frames :] = made[..., context - frames : context]
    return turns


def code_match(engine: Player, turns: np.ndarray) -> np.ndarray:
    """How likely the LM holds the beginning of each of ``turns [J, K, L]`` after its end: ``float64 [J]``, nats a
    code."""
    L, spec = turns.shape[-1], engine.spec
    context, head = min(L, spec.frames(HISTORY)), min(L, max(1, spec.frames(MATCH)))
    return engine.score(turns[..., np.arange(-context, head) % L], context)


def spectral_match(engine: Player, turns: np.ndarray) -> np.ndarray:
    """How much the spectrum changes where each of ``turns [J, K, L]`` begins again: ``float64 [J]``, dB."""
    before, after = engine.spec.frames(0.7), AHEAD + engine.spec.frames(0.2)
    wavs = engine.decode(turns[..., np.arange(-before, after) % turns.shape[-1]])[:, 0]  # [J, N]
    return np.array([discontinuity(wav, before * _hop(engine), engine.bundle.sample_rate).flux[0] for wav in wavs])


def one_turn(engine: Player, codes: np.ndarray) -> np.ndarray:
    """The sound of ``codes [K, L]`` that go round and round: one turn, ``float32 [L * hop]``."""
    L, hop, fade = codes.shape[1], _hop(engine), round(CROSSFADE * engine.bundle.sample_rate)
    before, after = engine.spec.frames(WARM_UP), AHEAD + -(-fade // hop)
    wav = engine.decode(codes[None, :, np.arange(-before, L + after) % L])[0, 0, before * hop :]
    turn = wav[: L * hop].copy()
    fade = min(fade, len(turn) // 2)
    turn[:fade] = crossfade(wav[L * hop : L * hop + fade], turn[:fade])
    return turn


def crossfade(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """From ``a [N]`` to ``b [N]`` at the same power all the way: as sounds that are alike add up by amplitude and
    others by power, so the gains depend on how alike these are."""
    t = np.sin(np.linspace(0, np.pi / 2, len(a), endpoint=False)) ** 2
    alike = np.clip((a @ b) / max(np.sqrt((a @ a) * (b @ b)), 1e-12), 0, 1)
    return ((1 - t) * a + t * b) / np.sqrt((1 - t) ** 2 + t**2 + 2 * alike * t * (1 - t))


def to_zero_crossing(wav: np.ndarray, reach: int) -> tuple[np.ndarray, int]:
    """Rotate circular ``[N]`` so that it begins where its sign changes, the nearest place up to ``reach`` samples away
    or else the quietest; returns it and by how many samples."""
    near = np.arange(-min(reach, len(wav) // 4), min(reach, len(wav) // 4) + 1)
    near = near[np.argsort(np.abs(near), kind="stable")]
    changes = np.signbit(wav[near % len(wav)]) != np.signbit(wav[(near - 1) % len(wav)])
    moved = int(near[changes.argmax()] if changes.any() else near[np.abs(wav[near % len(wav)]).argmin()])
    return np.roll(wav, -moved), moved


def _join(wav: np.ndarray, frames: int, moved: int, sample_rate: int) -> dict[str, Any]:
    """The report's figures of the join, at ``-moved``, and of those between other ``frames``."""
    some = np.r_[0, 1 : frames : -(-frames // MOST_INSIDE)]
    found = discontinuity(wav, np.round(some * len(wav) / frames).astype(int) - moved, sample_rate)
    out: dict[str, Any] = {}
    for name in ("click", "flux"):
        join, inside = getattr(found, name)[0], getattr(found, name)[1:]
        out |= {name: float(join), f"{name}_percentile": percentile(join, inside),
                f"{name}_inside": tuple(np.percentile(inside, (5, 50, 95)).tolist())}
    return out


def _ranks(values: np.ndarray) -> np.ndarray:
    """How many are below each: equals have the same rank."""
    return (values[None] < values[:, None]).sum(axis=1)


def _hop(engine: Player) -> int:
    return hop_length(engine.bundle.sample_rate, engine.spec.frame_rate)


def _checked_frames(codes: np.ndarray, samples: int, engine: Player, hop: int) -> int:
    L, rate = loop_frames(samples, hop), engine.bundle.sample_rate
    if L < SHORTEST:
        raise UserError(f"a loop lasts {SHORTEST * hop / rate:g} s or more, got {samples / rate:.3f} s; ask for more "
                        "bars or a slower tempo")
    if codes.ndim != 2 or codes.shape[0] != engine.spec.n_q or codes.shape[1] < L:
        raise UserError(f"expected codes [{engine.spec.n_q}, T] with T of {L} or more for {samples} samples, got "
                        f"{list(codes.shape)}")
    return L


def _checked_candidates(candidates: int) -> int:
    if not 1 <= candidates <= MOST_CANDIDATES:
        raise UserError(f"expected 1 to {MOST_CANDIDATES} endings to choose from, got {candidates}")
    return candidates
