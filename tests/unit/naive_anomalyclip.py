"""AnomalyCLIP written a second time, as plainly as possible and one image at a time, from the specification alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.detectors.anomalyclip import AnomalyCLIPConfig


@dataclass(frozen=True)
class Naive:
    """Everything the model says of one image."""

    text: Tensor  # (2, E) raw
    image: Tensor  # (E,) raw
    patches: list[Tensor]  # (1 + N, E) raw
    image_score: Tensor
    maps: list[Tensor]  # (S, S, 2)
    anomaly_map: NDArray[np.float64]


class NaiveAnomalyCLIP:
    """Reads a state dict of AnomalyCLIP; computes in the dtype of the weights it is given."""

    def __init__(self, config: AnomalyCLIPConfig, weights: Mapping[str, Tensor]) -> None:
        self.c, self.w = config, weights

    def inspect(self, image: Tensor) -> Naive:
        text = self.text()
        image_feature, patches = self.image(image)
        t = torch.stack([row / row.norm() for row in text])
        maps = [self.similarity(tokens, t) for tokens in patches]
        total = sum(((m[:, :, 1] + 1 - m[:, :, 0]) / 2).detach().numpy() for m in maps)
        smooth = gaussian(np.asarray(total), self.c.sigma) if self.c.sigma else total
        score = torch.softmax((image_feature / image_feature.norm()) @ t.T / self.c.temperature, dim=0)[1]
        return Naive(text, image_feature, patches, score, maps, np.asarray(smooth))

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean = x.mean(dim=-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-5) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def linear(self, x: Tensor, name: str, sep: str = ".") -> Tensor:
        return x @ self.w[f"{name}{sep}weight"].T + self.w[f"{name}{sep}bias"]

    def mlp(self, x: Tensor, block: str) -> Tensor:
        u = self.linear(x, f"{block}.mlp.c_fc")
        if self.c.activation == "quick_gelu":
            u = u / (1 + torch.exp(-1.702 * u))
        else:
            u = u * (1 + torch.erf(u / 2**0.5)) / 2
        return self.linear(u, f"{block}.mlp.c_proj")

    def attention(self, u: Tensor, block: str, kind: str, causal: bool = False) -> Tensor:
        width = u.shape[1]
        qkv = self.linear(u, f"{block}.attn.in_proj", sep="_")
        q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
        if kind == "vv":
            q, k = v, v
        heads = []
        for h in range(width // 64):
            cut = slice(64 * h, 64 * h + 64)
            logits = q[:, cut] @ k[:, cut].T / 8
            if causal:
                logits = logits.masked_fill(torch.ones_like(logits).tril() == 0, -float("inf"))
            heads.append(torch.softmax(logits, dim=1) @ v[:, cut])
        return self.linear(torch.cat(heads, dim=1), f"{block}.attn.out_proj")

    def text(self) -> Tensor:
        rows = []
        for side in ("pos", "neg"):
            parts = (f"token_prefix_{side}", f"ctx_{side}", f"token_suffix_{side}")
            x = torch.cat([self.w[f"prompt_learner.{part}"][0, 0] for part in parts])
            x = x + self.w["positional_embedding"]
            for i in range(self.c.text_layers):
                if 1 <= i <= self.c.depth - 1:
                    compound = self.w[f"prompt_learner.compound_prompts_text.{i - 1}"]
                    if self.c.compound_precision == "float16":
                        compound = compound.half().to(x.dtype)
                    x = torch.cat([x[:1], compound, x[1 + len(compound) :]])
                block = f"transformer.resblocks.{i}"
                x = x + self.attention(self.norm(x, f"{block}.ln_1"), block, "qk", causal=True)
                x = x + self.mlp(self.norm(x, f"{block}.ln_2"), block)
            tokens = self.w[f"prompt_learner.tokenized_prompts_{side}"].flatten().tolist()
            rows.append(self.norm(x, "ln_final")[tokens.index(max(tokens))] @ self.w["text_projection"])
        return torch.stack(rows)

    def image(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        patch, grid = self.c.patch_size, self.c.image_size // self.c.patch_size
        kernel = self.w["visual.conv1.weight"].flatten(1)
        tokens = [self.w["visual.class_embedding"]]
        for row in range(grid):
            for column in range(grid):
                window = image[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
                tokens.append(kernel @ window.flatten())
        o = self.norm(torch.stack(tokens) + self.positions(grid), "visual.ln_pre")
        z, taps = None, []
        first = self.c.vision_layers - (self.c.dpam_layer - 1)
        for i in range(self.c.vision_layers):
            block = f"visual.transformer.resblocks.{i}"
            u = self.norm(o, f"{block}.ln_1")
            if i >= first:
                z = (o if z is None else z) + self.attention(u, block, "vv")
            o = o + self.attention(u, block, "qk")
            o = o + self.mlp(self.norm(o, f"{block}.ln_2"), block)
            if i + 1 in self.c.features_list:
                taps.append(o if z is None else z)
        proj = self.w["visual.proj"]
        return o[0] @ proj, [self.norm(tap, "visual.ln_post") @ proj for tap in taps]

    def positions(self, grid: int) -> Tensor:
        table = self.w["visual.positional_embedding"]
        native = self.c.native_grid
        if grid == native:
            return table
        resized = bilinear(table[1:].reshape(native, native, -1), grid)
        return torch.cat([table[:1], resized.reshape(grid * grid, -1)])

    def similarity(self, tokens: Tensor, t: Tensor) -> Tensor:
        grid = self.c.image_size // self.c.patch_size
        rows = [torch.softmax((p / p.norm()) @ t.T / self.c.temperature, dim=0) for p in tokens[1:]]
        return bilinear(torch.stack(rows).reshape(grid, grid, 2), self.c.image_size)


def bilinear(table: Tensor, size: int) -> Tensor:
    """Resize (n, n, channels) to (size, size, channels); pixel centres at (i + 0.5), edges clamped."""
    n = len(table)
    at = [min(max((i + 0.5) * n / size - 0.5, 0.0), n - 1.0) for i in range(size)]
    low = [min(int(a), n - 1) for a in at]
    high = [min(a + 1, n - 1) for a in low]
    part = torch.tensor([a - b for a, b in zip(at, low, strict=True)], dtype=table.dtype)[:, None, None]
    rows = table[low] * (1 - part) + table[high] * part
    columns = rows.transpose(0, 1)
    return (columns[low] * (1 - part) + columns[high] * part).transpose(0, 1)


def gaussian(table: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Filter a square; "reflect" as scipy says it, "symmetric" as numpy does: the edge pixel is repeated."""
    radius = int(4 * sigma + 0.5)
    weights = np.array([np.exp(-(i**2) / (2 * sigma**2)) for i in range(-radius, radius + 1)])
    weights /= weights.sum()

    def along_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.pad(rows, ((0, 0), (radius, radius)), mode="symmetric")
        return np.stack([np.convolve(row, weights, mode="valid") for row in padded])

    return along_rows(along_rows(table).T).T


def losses(maps: list[Tensor], mask: Tensor, probability: Tensor, label: int) -> Tensor:
    """The published total for one image; maps (S, S, 2), mask (S, S)."""
    total = -torch.log(probability if label else 1 - probability)
    for pair in maps:
        anomalous, normal = pair[:, :, 1], pair[:, :, 0]
        low, high = 1e-5, 1 - 1e-5
        p = torch.where(mask == 1, high * anomalous + low * normal, low * anomalous + high * normal) + 1e-5
        focal = (-((1 - p) ** 2) * torch.log(p)).mean()
        dice = [
            1 - (2 * (s * g).sum() + 1) / (s.sum() + g.sum() + 1) for s, g in ((anomalous, mask), (normal, 1 - mask))
        ]
        total = total + 4 * (focal + dice[0] + dice[1])
    return total
