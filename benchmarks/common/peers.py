"""The peers of a cold start, each a process of its own, and the random instrument that all of them play.

    python -m benchmarks.common.peers make FOLDER [--tiny]   the same weights as bundle/, audiocraft/ and transformers/
    python -m benchmarks.common.peers audiocraft FOLDER -n 1 -d 10 -o OUT
    python -m benchmarks.common.peers transformers FOLDER -n 1 -d 10 -o OUT

audiocraft is used as its documentation does: ``MusicGen.get_pretrained``, ``set_generation_params``,
``generate_unconditional``, ``audio_write``. 1.3.0 does not import without our compat layer, whose time counts with it.

transformers has no unconditional MusicGen as a whole (``MusicgenForConditionalGeneration`` wants a T5), but its
decoder, ``MusicgenForCausalLM``, runs alone: a layer without encoder states skips its cross attention. The weights of
that are there all the same (at micro scale 134 MB of zeros on the disk). It gets a static cache, and ``EncodecModel``.
Both give the codes that ours gives: tests/bench/test_benchmarks.py compares them.
"""

from __future__ import annotations

import os
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError, run_cli

BUNDLE, AUDIOCRAFT, TRANSFORMERS = "bundle", "audiocraft", "transformers"
TOP_K = 250  # audiocraft's default, and our bundles'
CONTEXT_S = 30.0  # the LM's context, as with MusicGen
CODEC_NAME = "random"


def sizes(tiny: bool):
    """``(LMConfig, EncodecConfig)``: the micro scale with EnCodec at 32 kHz, or a toy of the same build."""
    from audiocraft_ext.audio.codec.encodec import EncodecConfig
    from audiocraft_ext.model.lm import LMConfig

    if tiny:
        return (LMConfig(n_q=4, card=256, dim=64, num_heads=2, num_layers=2),
                EncodecConfig(n_filters=4, dimension=16, card=256, lstm=1))
    return LMConfig(n_q=4, card=2048, dim=2048, num_heads=2, num_layers=2), EncodecConfig()


def make(folder: Path, tiny: bool = False) -> None:
    """Write one model with random weights in the three forms."""
    import torch

    from audiocraft_ext.audio.codec.audiocraft import write as write_audiocraft
    from audiocraft_ext.audio.codec.codec import Codec
    from audiocraft_ext.audio.codec.encodec import EncodecModel, keep_variance
    from audiocraft_ext.export.bundle import write_bundle
    from audiocraft_ext.export.sources import Trained
    from audiocraft_ext.model.lm import LM

    lm_size, codec_size = sizes(tiny)
    torch.manual_seed(0)
    lm, net = LM(lm_size, tuple(range(lm_size.n_q))), EncodecModel(codec_size)
    keep_variance(net)
    codec = Codec(CODEC_NAME, net, "0" * 16)
    model = Trained(codec.spec.with_delays(lm.delays), lm.cfg, lm.state_dict(), codec,
                    context=round(CONTEXT_S * codec.spec.frame_rate), sampling={"temperature": 1.0, "top_k": TOP_K},
                    licence="CC0-1.0", card="random weights, for benchmarks")
    write_bundle(folder / BUNDLE, model, precisions=("int8", "int4"))
    write_audiocraft(folder / AUDIOCRAFT, model)
    write_transformers(folder / TRANSFORMERS, model)


def import_transformers():
    """transformers without torchaudio, which it does not need here: where that is linked against CUDA on a torch that
    has none, its import fails, and takes its time to."""
    import transformers.utils

    transformers.utils.is_torchaudio_available = lambda: False
    transformers.utils.logging.disable_progress_bar()
    return transformers


def write_transformers(folder: Path, model) -> None:
    """``lm/`` for ``MusicgenForCausalLM`` and ``codec/`` for ``EncodecModel``, as ``from_pretrained`` reads them."""
    import torch

    transformers = import_transformers()
    cfg, D = model.cfg, model.cfg.dim
    config = transformers.MusicgenDecoderConfig(
        vocab_size=cfg.card, num_hidden_layers=cfg.num_layers, ffn_dim=cfg.hidden_scale * D, hidden_size=D,
        num_attention_heads=cfg.num_heads, num_codebooks=cfg.n_q, pad_token_id=cfg.card, bos_token_id=cfg.card)
    lm = transformers.MusicgenForCausalLM(config).eval()
    state = {name: torch.zeros_like(value) for name, value in lm.state_dict().items()}
    for k in range(cfg.n_q):
        state[f"model.decoder.embed_tokens.{k}.weight"] = model.state[f"emb.{k}.weight"]
        state[f"lm_heads.{k}.weight"] = model.state[f"linears.{k}.weight"]
    for part in ("weight", "bias"):
        state[f"model.decoder.layer_norm.{part}"] = model.state[f"out_norm.{part}"]
    for i in range(cfg.num_layers):
        ours, theirs = f"transformer.layers.{i}", f"model.decoder.layers.{i}"
        projections = model.state[f"{ours}.self_attn.in_proj_weight"].split(D)  # query, key, value
        for name, weight in zip("qkv", projections):
            state[f"{theirs}.self_attn.{name}_proj.weight"] = weight
        for a, b in (("self_attn.out_proj.weight", "self_attn.out_proj.weight"), ("linear1.weight", "fc1.weight"),
                     ("linear2.weight", "fc2.weight"), ("norm1.weight", "self_attn_layer_norm.weight"),
                     ("norm1.bias", "self_attn_layer_norm.bias"), ("norm2.weight", "final_layer_norm.weight"),
                     ("norm2.bias", "final_layer_norm.bias")):
            state[f"{theirs}.{b}"] = model.state[f"{ours}.{a}"]
    lm.load_state_dict({name: value.contiguous() for name, value in state.items()})
    lm.save_pretrained(folder / "lm")
    _transformers_codec(model.codec.model).save_pretrained(folder / "codec")


def _transformers_codec(ours):
    """Our EnCodec as ``transformers.EncodecModel``, weight norm put back."""
    transformers, cfg = import_transformers(), ours.cfg
    bits = cfg.n_q * cfg.frame_rate * (cfg.card - 1).bit_length()
    theirs = transformers.EncodecModel(transformers.EncodecConfig(
        target_bandwidths=[bits / 1000], sampling_rate=cfg.sample_rate, upsampling_ratios=list(cfg.ratios),
        num_filters=cfg.n_filters, codebook_size=cfg.card, hidden_size=cfg.dimension, codebook_dim=cfg.dimension,
        num_lstm_layers=cfg.lstm, use_causal_conv=False, use_conv_shortcut=False)).eval()
    state, source = theirs.state_dict(), ours.state_dict()
    for name in state:
        stem = name.removesuffix(".parametrizations.weight.original1")
        if name.endswith("original1"):
            state[name] = source[f"{stem}.weight"]
            state[name.replace("original1", "original0")] = source[f"{stem}.weight"].norm(dim=(1, 2), keepdim=True)
        elif name in source:
            state[name] = source[name]
    theirs.load_state_dict(state)
    return theirs


def play_audiocraft(folder: Path, clips: int, seconds: float, out: Path) -> None:
    import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
    from audiocraft.data.audio import audio_write
    from audiocraft.models import MusicGen

    model = MusicGen.get_pretrained(str(folder / AUDIOCRAFT), device="cpu")
    model.set_generation_params(duration=seconds, top_k=TOP_K)
    for i, wav in enumerate(model.generate_unconditional(clips)):
        audio_write(str(out / str(i)), wav.cpu(), model.sample_rate)


def generate_transformers(lm, clips: int, frames: int, sample: bool = True):
    """``codes [B, K, T]``, the K delayed streams laid straight again by the model itself."""
    import torch

    K, special = lm.config.num_codebooks, lm.config.pad_token_id
    steps = frames + K  # the first shows nothing, the last K - 1 are the delay; max_length counts them all
    begin = torch.full((clips * K, 1), special)
    return lm.generate(begin, attention_mask=torch.ones(clips, 1, dtype=torch.long), max_length=steps,
                       do_sample=sample, top_k=TOP_K if sample else None, decoder_start_token_id=special,
                       pad_token_id=special, bos_token_id=special, guidance_scale=None, num_beams=1,
                       num_return_sequences=1, cache_implementation="static")


def play_transformers(folder: Path, clips: int, seconds: float, out: Path) -> None:
    import soundfile
    import torch

    transformers = import_transformers()
    lm = transformers.MusicgenForCausalLM.from_pretrained(folder / TRANSFORMERS / "lm").eval()
    codec = transformers.EncodecModel.from_pretrained(folder / TRANSFORMERS / "codec").eval()
    rate = codec.config.sampling_rate
    with torch.inference_mode():
        codes = generate_transformers(lm, clips, round(seconds * codec.config.frame_rate))
        wavs = codec.decode(codes[None], [None]).audio_values  # [B, 1, N]
    for i, wav in enumerate(wavs):
        soundfile.write(out / f"{i}.wav", wav[0].numpy(), rate)


PEERS = {AUDIOCRAFT: play_audiocraft, TRANSFORMERS: play_transformers}


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.common.peers", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=("make", *PEERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", type=int, default=1, metavar="CLIPS")
    parser.add_argument("-d", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("-o", type=Path, metavar="OUT")
    parser.add_argument("--tiny", action="store_true", help="make: a toy instead of the micro scale")
    args = parser.parse_args(argv)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # what it needs is here
    if args.what == "make":
        make(args.folder, args.tiny)
        return
    if args.o is None or not args.o.is_dir():
        raise UserError(f"-o is a folder that is there, got {args.o}")
    PEERS[args.what](args.folder, args.n, args.d, args.o)


if __name__ == "__main__":
    run_cli(main)
