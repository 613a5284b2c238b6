"""The LM with fixed shapes: what a CUDA graph can hold.

The same arithmetic as :class:`~audiocraft_ext.model.lm.LM` with a cache, from the same weights, for sampling alone.
There the cache grows and the position is a number in Python; here both have a place on the device, so that a step,
captured once, can be played again. (The recipe is that of gpt-fast,
https://pytorch.org/blog/accelerating-generative-ai-2/.)
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from audiocraft_ext.model import blocks
from audiocraft_ext.model.attention import State, TorchHeads, held, slots, turns, visible
from audiocraft_ext.model.blocks import NORM_EPSILON
from audiocraft_ext.model.experts import route
from audiocraft_ext.model.layers import ACTIVATIONS
from audiocraft_ext.model.lm import LM, sin_embedding

SMALLEST, LARGEST = 128, 1024  # steps of the past that are read: 128, 256, 512, 1024, 2048, 3072, ...


def span_of(steps: int) -> int:
    """How much of the cache a step reads that has ``steps`` steps behind it, itself included.

    A graph has fixed shapes, so there is one for each span, and what lies between the past and the span is masked. The
    spans depend on nothing but the position, so a clip that is longer begins as a shorter one does.
    """
    if steps > LARGEST:
        return -(-steps // LARGEST) * LARGEST
    return max(SMALLEST, 1 << (steps - 1).bit_length())


def _rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x.float(), weight.shape, weight.float(), NORM_EPSILON).to(x.dtype)


NORMS = {"layer": lambda x, weight, bias: F.layer_norm(x, weight.shape, weight, bias, NORM_EPSILON), "rms": _rms_norm}


class StaticLayer(TorchHeads):
    """A layer's weights by their names, and how to compute with them (:class:`~audiocraft_ext.model.blocks.Parts`).

    Heads look in plain products: the fused kernels give a clip's head to one processor of the GPU, and these models
    have two to sixteen heads. They also do not take a mask, or not every head size.
    """

    def __init__(self, weights: dict[str, torch.Tensor]):
        self.weights = weights

    def norm(self, norm: blocks.Norm, x: torch.Tensor) -> torch.Tensor:
        stored = (f"{norm.name}.{part}" for part in ("weight", "bias"))
        return NORMS[norm.kind](x, *(self.weights[name] for name in stored if name in self.weights))

    def weight(self, name: str) -> torch.Tensor:
        return self.weights[name]

    def product(self, product: blocks.Product, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weights[product.weight], self.weights.get(product.bias))

    def activate(self, kind: str, x: torch.Tensor) -> torch.Tensor:
        return ACTIVATIONS[kind](x)

    def mix(self, mixture: blocks.Mixture, x: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """A graph has fixed shapes, so every expert is given all tokens. The rows of a step are few: what costs is to
        read the weights, and most experts are met by one of the rows."""
        chosen, gates = route(mixture, self.weights[mixture.router.weight], self.weights[mixture.balance], x)
        counts = gates.new_zeros(*x.shape[:-1], len(mixture.experts)).scatter(-1, chosen, gates).to(x.dtype)
        for e, expert in enumerate(mixture.experts):
            shared = shared + expert.apply(self, x) * counts[..., e : e + 1]
        return shared

    def add(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class StaticLM:
    """The LM's weights in one precision on one device, and its step over a cache of a fixed size.

    Everything that depends on the position takes it from a tensor, so the step can be captured. The K embeddings are
    one table and the K heads one matrix: fewer and larger kernels.
    """

    def __init__(self, model: LM, device: torch.device, dtype: torch.dtype):
        cfg, self.device, self.dtype = model.cfg, device, dtype
        self.cfg = cfg
        taken = torch.arange(cfg.card) < torch.tensor(model.sizes)[:, None]  # [K, card]
        self.impossible = None if taken.all() else ~taken.to(device)

        def there(tensor: torch.Tensor, kind: torch.dtype = dtype) -> torch.Tensor:
            return tensor.detach().to(device, kind).contiguous()

        self.emb = torch.cat([there(emb.weight) for emb in model.emb])  # [K * (card + 1), dim]
        self.rows = torch.arange(cfg.n_q, device=device)[:, None] * (cfg.card + 1)  # [K, 1], where each table begins
        self.heads = torch.cat([there(head.weight) for head in model.linears])  # [K * card, dim]
        self.heads_bias = torch.cat([there(head.bias) for head in model.linears]) if cfg.bias_proj else None
        self.out_norm = StaticLayer({f"out_norm.{name}": there(w) for name, w in model.out_norm.state_dict().items()})
        routing = dict.fromkeys(cfg.block.routing, torch.float32)
        self.layers = [StaticLayer({name: there(weight, routing.get(name, dtype))
                                    for name, weight in layer.state_dict().items()})
                       for layer in model.transformer.layers]

    def make_room(self, batch: int, capacity: int) -> None:
        """A cache for ``capacity`` steps of ``batch`` clips."""
        cfg, heads = self.cfg, self.cfg.block.attention.heads
        self.cache = torch.zeros(cfg.cache_shape(batch, capacity), device=self.device, dtype=self.dtype)
        self.places = torch.arange(self.cache.shape[-2], device=self.device)
        self.turns = turns(heads, self.places)[0]  # each [capacity, D / 2]
        if cfg.positional_embedding == "sin":
            self.positions = sin_embedding(self.places, cfg.dim, cfg.max_period).to(self.dtype)  # [capacity, dim]

    def span(self, steps: int) -> int:
        """How much of the cache is read where there are ``steps``: see :func:`span_of`."""
        return self.cfg.block.attention.heads.places(span_of(steps))

    def hidden(self, codes: torch.Tensor, at: torch.Tensor, span: int) -> torch.Tensor:
        """Read steps into the cache.

        Args:
            codes: ``int64 [B, K, S]``, delayed.
            at: ``int64 [S]``, their positions.
            span: how much of the cache is looked at; beyond every position in ``at``.

        Returns:
            The last layer's output, ``[B, S, dim]``, with its norm.
        """
        x = F.embedding(codes + self.rows, self.emb).sum(dim=1)  # [B, S, dim]
        if self.cfg.positional_embedding == "sin":
            x = x + F.embedding(at, self.positions)
        heads = self.cfg.block.attention.heads
        if heads.window is None:
            near, far = self.turns and tuple(F.embedding(at, table) for table in self.turns), None
        else:  # no table: there is no last position
            near, far = turns(heads, at)
        seen = visible(heads, at, held(heads, at[-1], self.places[:span]))
        state = State(near, far, seen, slots(heads, at))
        for cache, layer in zip(self.cache, self.layers):
            x = blocks.apply(self.cfg.block, layer, x, state._replace(cache=cache))
        return self.out_norm.norm(self.cfg.out_norm, x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[..., dim]`` to ``float32 [..., K, card]``."""
        logits = F.linear(hidden, self.heads, self.heads_bias).float().unflatten(-1, (self.cfg.n_q, self.cfg.card))
        return logits if self.impossible is None else logits.masked_fill(self.impossible, -torch.inf)
