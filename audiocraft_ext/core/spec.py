"""What a stream of codes ``[K, T]`` means, and whether two streams may meet.

Imports nothing of ours but the error type and the gates: every other part may know a spec.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.gates import Gate, as_gates, check

UNITS = SECONDS, STEPS, NOTES = ("seconds", "steps", "notes")
DEFAULT_UNITS = {"audio": "seconds"}  # the unit of a kind whose specs do not say it; of any other it is steps


@dataclass(frozen=True)
class Spec:
    """What a stream of codes is: its kind, sizes, rate and codec.

    Attributes:
        kind: what the codes stand for, a word such as ``audio``; :mod:`audiocraft_ext.kinds` says who knows more.
        n_q: K, the number of parallel streams.
        card: the number of values of one stream; codes lie in ``[0, card)``.
        frame_rate: frames a second, in Hz. Of ``steps`` at 120 BPM, so that what counts in seconds is time at that
            tempo. None where a frame is no length of time.
        delays: one per stream, in frames: how much later the LM sees it (the delay pattern of MusicGen,
            https://arxiv.org/abs/2306.05284 section 2.2).
        codec: name of the codec that made the codes.
        codec_hash: hash of that codec's weights or tables; two codecs of one name are two codecs.
        sizes: how many values each stream takes; () is ``card`` of all. What lies from there up to ``card`` is shown
            to a model and never predicted: the words of prompts.
        gates: streams that count only where another one's code of the same frame lets them
            (:class:`~audiocraft_ext.core.gates.Gate`); they may be given as ``(stream, gate, rest[, opens])``.
        prompt: P, frames before each clip that say what it is to be; their codes are no part of the clip.
        controls: how many of the last streams are always given and never predicted, such as a place in the bar. They
            are no part of a clip. Their size is 1: the only code that they take is 0, which says that nothing is known.
        unit: what a frame is: a part of a second (``seconds``), a step of a bar (``steps``) or an event (``notes``,
            the only ones without a ``frame_rate``); "" is seconds of ``audio``, steps of any other kind.
    """

    kind: str
    n_q: int
    card: int
    frame_rate: float | None
    delays: tuple[int, ...]
    codec: str
    codec_hash: str
    sizes: tuple[int, ...] = ()
    gates: tuple[Gate, ...] = ()
    prompt: int = 0
    unit: str = ""
    controls: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "delays", tuple(int(d) for d in self.delays))
        object.__setattr__(self, "unit", self.unit or self._default_unit)
        if self.unit not in UNITS:
            raise UserError(f"the unit of a frame is one of {', '.join(UNITS)}, got {self.unit!r}")
        if (self.frame_rate is None) != (self.unit == NOTES):
            raise UserError(f"frames that are {self.unit} have {'no' if self.unit == NOTES else 'a'} frame_rate, "
                            f"got {self.frame_rate}")
        if self.n_q < 1 or self.card < 1 or not (self.frame_rate is None or self.frame_rate > 0):
            raise UserError(f"a spec needs n_q, card and frame_rate above 0, "
                            f"got {self.n_q}, {self.card}, {self.frame_rate}")
        if self.card > 2**16 - 1:
            raise UserError(f"card must fit uint16 with one id to spare, got {self.card}")
        if len(self.delays) != self.n_q or min(self.delays) != 0:
            raise UserError(f"expected {self.n_q} delays (n_q) that start at 0, got {list(self.delays)}")
        sizes = tuple(int(size) for size in self.sizes)
        object.__setattr__(self, "sizes", () if set(sizes) == {self.card} else sizes)
        object.__setattr__(self, "gates", as_gates(self.gates))
        if self.sizes and (len(self.sizes) != self.n_q or not 1 <= min(self.sizes) <= max(self.sizes) <= self.card):
            raise UserError(f"expected {self.n_q} sizes (n_q) from 1 to card={self.card}, got {list(self.sizes)}")
        if self.prompt < 0:
            raise UserError(f"expected prompt frames, 0 or more, got {self.prompt}")
        if not 0 <= self.controls < self.n_q or (self.controls and set(sizes[-self.controls:]) != {1}):
            raise UserError(f"expected controls from 0 to below n_q={self.n_q}, the last streams, of size 1; got "
                            f"{self.controls} with sizes {list(sizes)}")
        check(self.gates, self.delays, self.card)

    @property
    def _default_unit(self) -> str:
        return DEFAULT_UNITS.get(self.kind, "steps")

    @property
    def timed(self) -> bool:
        """Whether a frame is a length of time, of ``steps`` at 120 BPM."""
        return self.frame_rate is not None

    def seconds(self, frames: float) -> float:
        """How long so many frames last.

        Raises:
            UserError: a frame is no length of time.
        """
        return frames / self._rate()

    def frames(self, seconds: float) -> int:
        """The number of frames that is nearest to ``seconds``.

        Raises:
            UserError: a frame is no length of time.
        """
        return round(seconds * self._rate())

    def length(self, frames: int, digits: str = ".2f") -> str:
        """So many frames in words, with their unit: ``1.50 s``, ``24 steps``, ``24 notes``."""
        return f"{self.seconds(frames):{digits}} s" if self.unit == "seconds" else f"{frames} {self.unit}"

    def _rate(self) -> float:
        if self.frame_rate is None:
            raise UserError(f"a frame of {self.kind} is one of its {self.unit} and no length of time: expected a "
                            "number of frames, got seconds")
        return self.frame_rate

    @property
    def special_id(self) -> int:
        """The id of "no code here": before a stream starts and where audio has ended. Equal to ``card``."""
        return self.card

    def size(self, stream: int) -> int:
        """How many values a stream takes."""
        return self.sizes[stream] if self.sizes else self.card

    def with_delays(self, delays) -> Spec:
        return replace(self, delays=tuple(delays))

    @property
    def clip(self) -> Spec:
        """Of what is predicted alone, the codes of a clip: without the controls."""
        if not self.controls:
            return self
        K = self.n_q - self.controls
        return replace(self, n_q=K, delays=self.delays[:K], sizes=self.sizes[:K], controls=0)

    def with_controls(self, n: int) -> Spec:
        """With ``n`` controls more, which are not delayed."""
        return replace(self, n_q=self.n_q + n, delays=(*self.delays, *(0,) * n), controls=self.controls + n,
                       sizes=(*map(self.size, range(self.n_q)), *(1,) * n))

    def to_dict(self) -> dict:
        d = {"kind": self.kind, "n_q": self.n_q, "card": self.card, "frame_rate": self.frame_rate,
             "delays": list(self.delays), "codec": {"name": self.codec, "hash": self.codec_hash}}
        if self.frame_rate is None:
            del d["frame_rate"]
        more = {"unit": "" if self.unit == self._default_unit else self.unit, "sizes": list(self.sizes),
                "gates": [gate.to_list() for gate in self.gates], "prompt": self.prompt, "controls": self.controls}
        return d | {key: value for key, value in more.items() if value}

    @classmethod
    def from_dict(cls, d: dict) -> Spec:
        try:
            return cls(d["kind"], d["n_q"], d["card"], d.get("frame_rate"), tuple(d["delays"]),
                       d["codec"]["name"], d["codec"]["hash"], tuple(d.get("sizes", ())),
                       tuple(d.get("gates", ())), d.get("prompt", 0), d.get("unit", ""), d.get("controls", 0))
        except (KeyError, TypeError) as error:
            raise UserError(f"not a spec: {error!r} in {d}") from None

    def check_same_stream(self, other: Spec, mine: str, others: str) -> None:
        """Raise a :class:`UserError` that names what differs; delays are the LM's own choice and may differ.

        Args:
            mine: what this spec belongs to, for the message ("the store stores/jungle").
            others: what the other belongs to ("the bundle out/jungle").
        """
        for key in ("kind", "n_q", "card", "unit", "frame_rate", "codec", "codec_hash", "sizes", "gates", "prompt",
                    "controls"):
            a, b = getattr(self, key), getattr(other, key)
            if a != b:
                raise UserError(f"{mine} has {key}={a}, but {others} has {key}={b}: their codes do not mean the same")
