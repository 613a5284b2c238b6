"""The LM with fixed shapes: what a CUDA graph can hold.

The same arithmetic as :class:`~audiocraft_ext.lm.LM` with a cache, from the same weights, for sampling alone. There the
cache grows and the position is a number in Python; here both have a place on the device, so that a step, captured once,
can be played again. (The recipe is that of gpt-fast, https://pytorch.org/blog/accelerating-generative-ai-2/.)
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from audiocraft_ext.lm import LM, sin_embedding

SMALLEST, LARGEST = 128, 1024  # steps of the past that are read: 128, 256, 512, 1024, 2048, 3072, ...


def span_of(steps: int) -> int:
    """How much of the cache a step reads that has ``steps`` steps behind it, itself included.

    A graph has fixed shapes, so there is one for each span, and what lies between the past and the span is masked. The
    spans depend on nothing but the position, so a clip that is longer begins as a shorter one does.
    """
    if steps > LARGEST:
        return -(-steps // LARGEST) * LARGEST
    return max(SMALLEST, 1 << (steps - 1).bit_length())


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

        def there(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.detach().to(device, dtype).contiguous()

        def norm(module: torch.nn.LayerNorm) -> tuple:
            return (cfg.dim,), there(module.weight), there(module.bias), module.eps

        self.emb = torch.cat([there(emb.weight) for emb in model.emb])  # [K * (card + 1), dim]
        self.rows = torch.arange(cfg.n_q, device=device)[:, None] * (cfg.card + 1)  # [K, 1], where each table begins
        self.heads = torch.cat([there(head.weight) for head in model.linears])  # [K * card, dim]
        self.heads_bias = torch.cat([there(head.bias) for head in model.linears]) if cfg.bias_proj else None
        self.out_norm = norm(model.out_norm)
        self.layers = []
        for layer in model.transformer.layers:
            attn = layer.self_attn
            self.layers.append((norm(layer.norm1), there(attn.in_proj_weight), there(attn.in_proj_bias),
                                there(attn.out_proj.weight), there(attn.out_proj.bias),
                                norm(layer.norm2), there(layer.linear1.weight), there(layer.linear1.bias),
                                there(layer.linear2.weight), there(layer.linear2.bias)))

    def make_room(self, batch: int, capacity: int) -> None:
        """A cache for ``capacity`` steps of ``batch`` clips."""
        cfg = self.cfg
        self.cache = torch.zeros(cfg.num_layers, 2, batch * cfg.num_heads, capacity, cfg.head_dim, device=self.device,
                                 dtype=self.dtype)
        self.steps = torch.arange(capacity, device=self.device)
        self.positions = sin_embedding(self.steps, cfg.dim, cfg.max_period).to(self.dtype)  # [capacity, dim]

    def hidden(self, codes: torch.Tensor, at: torch.Tensor, span: int) -> torch.Tensor:
        """Read steps into the cache.

        Args:
            codes: ``int64 [B, K, S]``, delayed.
            at: ``int64 [S]``, their positions.
            span: how much of the cache is looked at; beyond every position in ``at``.

        Returns:
            The last layer's output, ``[B, S, dim]``, with its norm.
        """
        B, K, S = codes.shape
        H, D = self.cfg.num_heads, self.cfg.head_dim
        x = F.embedding(codes + self.rows, self.emb).sum(dim=1) + F.embedding(at, self.positions)  # [B, S, dim]
        later = self.steps[:span] > at[:, None]  # [S, span]
        for (keys, values), layer in zip(self.cache, self.layers):
            norm1, w_in, b_in, w_out, b_out, norm2, w1, b1, w2, b2 = layer
            qkv = F.linear(F.layer_norm(x, *norm1), w_in, b_in)
            q, k, v = qkv.view(B, S, 3, H, D).permute(2, 0, 3, 1, 4).reshape(3, B * H, S, D)
            keys.index_copy_(1, at, k)
            values.index_copy_(1, at, v)
            # Two plain products: the fused kernels give a clip's head to one processor of the GPU, and these models
            # have two to sixteen heads. They also do not take a mask, or not every head size.
            scores = torch.bmm(q * D**-0.5, keys[:, :span].transpose(1, 2)).masked_fill_(later, -torch.inf)
            y = torch.bmm(scores.softmax(dim=-1, dtype=torch.float32).to(x.dtype), values[:, :span])  # [B * H, S, D]
            x = x + F.linear(y.view(B, H, S, D).transpose(1, 2).reshape(B, S, H * D), w_out, b_out)
            x = x + F.linear(F.gelu(F.linear(F.layer_norm(x, *norm2), w1, b1)), w2, b2)
        return F.layer_norm(x, *self.out_norm)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[..., dim]`` to ``float32 [..., K, card]``."""
        logits = F.linear(hidden, self.heads, self.heads_bias).float().unflatten(-1, (self.cfg.n_q, self.cfg.card))
        return logits if self.impossible is None else logits.masked_fill(self.impossible, -torch.inf)
