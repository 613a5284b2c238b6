"""The peers of drum playing and of MIDI preparation, rebuilt from what is published of them, with random weights; and
a random drummer of our own of the size that ships.

nanoMPC (https://github.com/patchbanks/nanoMPC). Sizes from its ``train.py``: 4 layers, 4 heads, 196 wide, no biases,
1152 positions (1.8 M weights in the layers, 2.1 M in all). A layer is nanoGPT's with RMS norms, the head is the
embedding. Text from ``app.py``: a line of twelve digits a hit (pitch 2, velocity 2, start 4, end 4), in tokens of two
digits and one for the line's end; a beat begins with a line of zeros that is one token. ``generate`` has no cache: each
token reads the whole text again, on a CPU in fp32. 482 tokens are 69 lines, the last without its end; a row of four
bars of the Groove MIDI Dataset has 77 hits on average. The noise that it adds to the embeddings of each step is left
out. The cache is ours, for comparison: it makes the same tokens.

AutoBeat (https://github.com/asourlas/axart.github.io). The smallest GPT-2, through ggml in a plugin: "most beats taking
no more than 4-5 seconds" on "Silicon-based MacBooks". Two bars in four groups of instruments; each is asked for by its
genre, type, density, intensity and group and answers ``step:0 track:4 offset:0 velocity:84 step:4 ...``. The number
of tokens is not stated. Each such word is taken to be one of its custom tokens, four a hit, the quickest reading of
it; hits a bar as in nanoMPC's 482 tokens. Here it is ``transformers``' GPT-2 and its ``generate`` with a cache.

nano-GPT-v3 (https://github.com/MQahawish/nano-GPT-v3), ``encode_all.py`` and ``encoding_decoding.py``: music21 reads a
file into a stream, the stream becomes a table of all steps, parts and pitches at four steps a beat, and that a text,
``START n38 d1 v90 sepxx d2 ...``. Drums on channel 10 have no pitch in today's music21 (its code, which looks for
notes, would find none); here they count with the line that they stand on. music21 is in none of our lists of
dependencies: ``pip install music21``, or ``pip install --target FOLDER music21`` and ``--music21 FOLDER``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from audiocraft_ext.core.errors import UserError

BEAT_TOKENS = 482  # of nanoMPC's text, made for four bars
PROMPT = (0, 1)  # a line of zeros and its end
LINE = 7  # tokens of a hit: six of two digits, and the line's end
HITS = -(-BEAT_TOKENS // LINE)
BARS = 4
GROUPS, GROUP_PROMPT, HIT_WORDS = 4, 5, 4  # of AutoBeat: groups of instruments, words that ask, words of a hit
AUTOBEAT_BARS = 2
STEPS_A_BEAT, LONGEST_STEPS, USUAL_VELOCITY = 4, 128, 64  # of nano-GPT-v3's text


@dataclass(frozen=True)
class NanoSize:
    """nanoMPC's, in nanoGPT's words. Its tokens are a line of zeros, a line's end and the pairs of digits."""

    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 196
    block_size: int = 1152
    vocab_size: int = 102


class NanoBlock(nn.Module):
    def __init__(self, size: NanoSize):
        super().__init__()
        width = size.n_embd
        self.heads = size.n_head
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor, cache: list | None) -> torch.Tensor:
        """``x [B, T, C]``; ``cache`` holds the keys and values so far and takes the new ones."""
        B, T, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = k, v
        y = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)  # [B, H, T, D]
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class NanoMPC(nn.Module):
    """A GPT of nanoMPC's shape."""

    def __init__(self, size: NanoSize = NanoSize()):  # noqa: B008  (it is frozen)
        super().__init__()
        self.size = size
        self.tokens, self.places = (nn.Embedding(n, size.n_embd) for n in (size.vocab_size, size.block_size))
        self.blocks = nn.ModuleList(NanoBlock(size) for _ in range(size.n_layer))
        self.norm = nn.RMSNorm(size.n_embd, eps=1e-5)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)

    def forward(self, text: torch.Tensor, caches: list[list] | None = None, begin: int = 0) -> torch.Tensor:
        """``text int64 [B, T]``, its first token the one at ``begin``, to the logits of the next: ``[B, vocab]``."""
        x = self.tokens(text) + self.places(torch.arange(begin, begin + text.shape[1]))
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[i])
        return F.linear(self.norm(x[:, -1]), self.tokens.weight)

    @torch.inference_mode()
    def generate(self, tokens: int = BEAT_TOKENS, cached: bool = False, seed: int = 0,
                 top_k: int = 8) -> torch.Tensor:
        """A beat's text, ``int64 [len(PROMPT) + tokens]``; it does not stop at a stop token."""
        rng = torch.Generator().manual_seed(seed)
        text = torch.tensor([PROMPT])
        caches: list[list] | None = [[] for _ in self.blocks] if cached else None
        new, begin = text, 0
        for _ in range(tokens):
            logits = self(new if cached else text, caches, begin)
            least = logits.topk(top_k).values[:, -1:]
            odds = logits.masked_fill(logits < least, -torch.inf).softmax(-1)
            begin, new = text.shape[1], torch.multinomial(odds, 1, generator=rng)
            begin = begin if cached else 0
            text = torch.cat([text, new], 1)
        return text[0]


def autobeat_text(bars: int = AUTOBEAT_BARS) -> list[int]:
    """Tokens to be made by each group for so many bars: four a hit, and the end."""
    hits = round(HITS * bars / BARS)
    return [HIT_WORDS * (hits // GROUPS + (group < hits % GROUPS)) + 1 for group in range(GROUPS)]


class AutoBeat:
    """transformers' GPT-2 with the words of AutoBeat's text on top of its vocabulary.

    Args:
        tiny: a toy instead of the 124 M.

    Raises:
        UserError: no transformers here.
    """

    def __init__(self, tiny: bool = False):
        try:
            from benchmarks.common.peers import import_transformers

            transformers = import_transformers()
        except ImportError as error:
            raise UserError(f"transformers is not there ({error}); pip install transformers") from None
        small = {"n_embd": 32, "n_layer": 2, "n_head": 2} if tiny else {}
        words = 2 * 16 + 12 + 25 + 128 + 32  # steps of two bars, tracks, offsets, velocities, and those that ask
        torch.manual_seed(0)
        config = transformers.GPT2Config(vocab_size=50257 + words, **small)
        self.model = transformers.GPT2LMHeadModel(config).eval()

    def generate(self, bars: int = AUTOBEAT_BARS, seed: int = 0) -> list[torch.Tensor]:
        """The text of each group, ``int64 [T]``; one after the other, as the plugin does."""
        torch.manual_seed(seed)
        ask = torch.arange(50257, 50257 + GROUP_PROMPT)[None]
        with torch.inference_mode():
            return [self.model.generate(ask, attention_mask=torch.ones_like(ask), do_sample=True, min_new_tokens=tokens,
                                        max_new_tokens=tokens, pad_token_id=50256)[0] for tokens in autobeat_text(bars)]


def music21_text(path: Path) -> str:
    """A MIDI file as nano-GPT-v3's text, by music21.

    Raises:
        UserError: no music21 here.
    """
    try:
        import music21
    except ImportError:
        raise UserError("music21 is not there; pip install music21, or into a folder of its own: pip install --target "
                        "FOLDER music21, and --music21 FOLDER") from None
    midi = music21.midi.MidiFile()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        midi.open(str(path))
        midi.read()
        midi.close()
        stream = music21.midi.translate.midiFileToStream(midi)
        parts = [part.flatten().notes for part in stream.parts]
        steps = round(float(stream.flatten().highestTime) * STEPS_A_BEAT) + 1
    table = np.zeros((steps, len(parts), 128, 2))  # steps long, velocity
    for i, notes in enumerate(parts):
        for one in notes:
            at, long = round(one.offset * STEPS_A_BEAT), round(one.quarterLength * STEPS_A_BEAT)
            for pitch in _pitches(one):
                table[at, i, pitch] = min(max(long, 1), LONGEST_STEPS), one.volume.velocity or USUAL_VELOCITY
    return _text(table)


def _text(table: np.ndarray) -> str:
    """Of ``[steps, parts, pitches, 2]``: the notes of each step, and how many steps it is to the next that has some."""
    words, last = ["START"], 0
    for step, cells in enumerate(table):
        found = np.argwhere(cells[..., 0])
        if len(found) and step > last:
            words.append(f"sepxx d{step - last}")
        for part, pitch in found:
            long, velocity = cells[part, pitch]
            words.append(f"n{pitch} d{long:.0f} v{velocity:.0f}")
            last = step
    return " ".join(words)


def _pitches(element) -> list[int]:
    """Of a music21 note or chord. On channel 10 these are drums without a pitch; where they stand in a staff does."""
    single = getattr(element, "notes", (element,))
    return [one.pitch.midi if hasattr(one, "pitch") else one.displayPitch().midi for one in single]


def random_drummer(out: Path, tiny: bool = False) -> Path:
    """Write a bundle of the shipped drummer's size with random weights that plays about as many hits as people do; its
    beats are noise. Returns the folder."""
    from audiocraft_ext.drums import describe
    from audiocraft_ext.drums.codec.grid import DrumGrid
    from audiocraft_ext.export.bundle import write_bundle
    from audiocraft_ext.export.sources import Trained
    from audiocraft_ext.model.lm import LM, LMConfig

    codec = DrumGrid()
    prompts = describe.prompts([f"genre {i}" for i in range(18)], codec)  # as many as the data of the shipped one has
    spec = prompts.extend(codec.spec)
    size = {"dim": 16, "num_layers": 1, "num_heads": 2} if tiny else {"dim": 192, "num_layers": 5, "num_heads": 4}
    cfg = LMConfig(n_q=spec.n_q, card=spec.card, bias_proj=True, **size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lm = LM(cfg, spec.delays, spec.sizes, spec.gates)
    cells = BARS * 16 * codec.classes
    with torch.no_grad():
        for k in range(codec.classes):  # so that a hit comes in HITS of the cells
            lm.linears[k].weight.mul_(0.1)
            lm.linears[k].bias.zero_()[0] = float(torch.logit(torch.tensor(1 - HITS / cells)) +
                                                  torch.tensor(float(codec.velocities)).log())
    config = {"type": "drum_grid", **codec.to_dict(), "prompts": prompts.to_dict()}
    write_bundle(out, Trained(spec, cfg, lm.state_dict(), None, context=spec.prompt + BARS * 16,
                              sampling={"temperature": 1.0, "top_k": 0}, licence="CC0-1.0",
                              card="random weights, for benchmarks", codec_config=config))
    return out
