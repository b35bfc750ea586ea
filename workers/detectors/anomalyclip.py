"""AnomalyCLIP: object-agnostic prompts and a V-V attention path over any open_clip vision transformer.

References
* Zhou, Pang, Tian, He, Chen: "AnomalyCLIP: Object-agnostic Prompt Learning for Zero-shot Anomaly Detection", ICLR 2024.
  The default of each configuration field is what its published code computes.
* Radford et al.: "Learning Transferable Visual Models From Natural Language Supervision" (CLIP), 2021. Modules carry
  the parameter names of its released weights, so that a state dict loads key by key.
* Li et al.: "CLIP Surgery", 2023, for the V-V path that leaves the original path as it is.

Letters in shapes: B images, N patches (a grid of g x g), T tokens of a text, W width, H heads, D = W / H, E embedding,
S image size. Row 0 of a pair is normal, row 1 is abnormal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from storage.errors import ModelShapeWrong, SettingsError

Weights = Mapping[str, Tensor]
UNUSED_CLIP_KEYS = (
    "token_embedding.weight",
    "logit_scale",
    "logit_bias",
    "input_resolution",
    "context_length",
    "vocab_size",
)


@dataclass(frozen=True)
class AnomalyCLIPConfig:
    """The backbone's shape (default: ViT-L/14@336px) and each choice that AnomalyCLIP makes on top of it."""

    # the backbone
    patch_size: int = 14
    native_grid: int = 24  # patches per side that the position embedding was trained for
    vision_width: int = 1024
    vision_layers: int = 24
    vision_mlp_width: int = 4096
    vision_head_width: int = 64
    text_width: int = 768
    text_layers: int = 12
    text_mlp_width: int = 3072
    text_head_width: int = 64
    context_length: int = 77
    embedding_width: int = 768
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    layer_norm_eps: float = 1e-5

    # the image
    image_size: int = 518
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    image_interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    position_interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    # the prompts
    class_name: str = "object"
    normal_template: str = "{}"
    abnormal_template: str = "damaged {}"
    n_ctx: int = 12
    depth: int = 9  # text blocks that see learned tokens: the prompt itself, then depth - 1 compound prompts
    t_n_ctx: int = 4  # learned tokens a compound prompt puts in
    compound_precision: Literal["float16", "float32"] = "float16"  # the published code rounds them to float16 and back

    # the image side
    dpam_layer: int = 20  # the last dpam_layer - 1 blocks have the V-V path; 1 = none
    # blocks, counted from 1 or back from -1, whose patch tokens are scored; the published scripts take the last
    features_list: tuple[int, ...] = (-1,)
    ln_post_on_image_feature: bool = False  # CLIP does, AnomalyCLIP does not

    # the scores
    temperature: float = 0.07
    map_fusion: Literal["sum", "mean"] = "sum"
    sigma: float = 4.0  # of the Gaussian filter over the map, in pixels of the input; 0 = none
    truncate: float = 4.0

    def __post_init__(self) -> None:
        taps = (tap + self.vision_layers + 1 if tap < 0 else tap for tap in self.features_list)
        object.__setattr__(self, "features_list", tuple(taps))
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        problems = [problem for wrong, problem in self._rules() if wrong]
        if problems:
            raise SettingsError(problems)

    def _rules(self) -> list[tuple[bool, str]]:
        layers, taps = self.vision_layers, self.features_list
        return [
            (
                not 1 <= self.dpam_layer <= layers + 1,
                f"dpam_layer: given {self.dpam_layer}, allowed 1 to {layers + 1} for {layers} blocks",
            ),
            (
                not taps or list(taps) != sorted(set(taps)) or not 1 <= taps[0] <= taps[-1] <= layers,
                f"features_list: given {list(taps)}, allowed rising block numbers from 1 to {layers}",
            ),
            (not 1 <= self.depth <= self.text_layers, f"depth: given {self.depth}, allowed 1 to {self.text_layers}"),
            (
                self.n_ctx < 0 or not 1 <= self.t_n_ctx < self.context_length,
                f"n_ctx, t_n_ctx: given {self.n_ctx}, {self.t_n_ctx}, allowed from 0, from 1",
            ),
            (
                self.image_size < self.patch_size,
                f"image_size: given {self.image_size}, allowed from {self.patch_size} (one patch)",
            ),
            (self.temperature <= 0, f"temperature: given {self.temperature}, allowed above 0"),
            (self.sigma < 0, f"sigma: given {self.sigma}, allowed from 0"),
            (
                self.vision_width % self.vision_head_width != 0 or self.text_width % self.text_head_width != 0,
                f"vision_head_width, text_head_width: {self.vision_head_width}, {self.text_head_width} do not divide "
                f"the widths {self.vision_width}, {self.text_width}",
            ),
        ]

    @property
    def grid(self) -> int:
        """Patches per side at this image size."""
        return self.image_size // self.patch_size

    @property
    def first_dual_block(self) -> int:
        """The first block, counted from 0, whose attention is replaced."""
        return self.vision_layers - (self.dpam_layer - 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for model.yaml."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read model.yaml's values; a name that is not a field is refused."""
        allowed = {field.name for field in fields(cls)}
        unknown = [f"{name}: not a setting of AnomalyCLIP" for name in values if name not in allowed]
        if unknown:
            raise SettingsError(unknown)
        return cls(**values)

    @classmethod
    def for_clip(cls, clip: Weights, **choices: Any) -> Self:
        """The configuration of these CLIP weights; what the shapes do not tell (activation, head widths) is a choice.

        Unless chosen: DPAM at the published relative depth (20 of 24 blocks, 10 of 12) and the multiple of the patch
        size nearest to 518 pixels.
        """
        shape = _clip_shape(clip)
        layers, patch = shape["vision_layers"], shape["patch_size"]
        recommended = {
            "dpam_layer": max(1, round(layers * 20 / 24)),
            "image_size": max(1, round(518 / patch)) * patch,
            "depth": min(cls.depth, shape["text_layers"]),
        }
        return cls(**{**shape, **recommended, **choices})


def _clip_shape(clip: Weights) -> dict[str, int]:
    try:
        vision_width, _, patch_size, _ = clip["visual.conv1.weight"].shape
        positions = clip["visual.positional_embedding"].shape[0]
        context_length, text_width = clip["positional_embedding"].shape
        return {
            "patch_size": patch_size,
            "native_grid": round((positions - 1) ** 0.5),
            "vision_width": vision_width,
            "vision_layers": _count_blocks(clip, "visual.transformer.resblocks."),
            "vision_mlp_width": clip["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
            "text_width": text_width,
            "text_layers": _count_blocks(clip, "transformer.resblocks."),
            "text_mlp_width": clip["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
            "context_length": context_length,
            "embedding_width": clip["visual.proj"].shape[1],
        }
    except (KeyError, ValueError, IndexError) as error:
        raise ModelShapeWrong([f"{error}: not the weights of a CLIP vision transformer"]) from error


def _count_blocks(clip: Weights, prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in clip if key.startswith(prefix)})


def describe_prompts(prompts: Weights) -> dict[str, int]:
    """The lengths and the depth that learned prompts were made with."""
    try:
        return {
            "n_ctx": prompts["ctx_pos"].shape[2],
            "depth": 1 + sum(key.startswith("compound_prompts_text.") for key in prompts),
            "t_n_ctx": prompts["compound_prompts_text.0"].shape[0] if "compound_prompts_text.0" in prompts else 4,
        }
    except (KeyError, IndexError) as error:
        raise ModelShapeWrong([f"{error}: not the prompts of AnomalyCLIP"]) from error


class Attention(nn.Module):
    """Multi-head attention with the parameter names of torch.nn.MultiheadAttention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def project(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The queries, keys and values of all heads."""
        qkv = F.linear(u, self.in_proj_weight, self.in_proj_bias)  # (B, T, 3W)
        q, k, v = qkv.view(*u.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # 3 x (B, H, T, D)
        return q, k, v

    def project_first_query(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The query of row 0 alone, with the keys and values of all rows."""
        width = u.shape[2]
        q = F.linear(u[:, :1], self.in_proj_weight[:width], self.in_proj_bias[:width])  # (B, 1, W)
        kv = F.linear(u, self.in_proj_weight[width:], self.in_proj_bias[width:])  # (B, T, 2W)
        k, v = kv.view(*u.shape[:2], 2, self.heads, -1).permute(2, 0, 3, 1, 4)  # 2 x (B, H, T, D)
        return q.view(len(u), 1, self.heads, -1).transpose(1, 2), k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
        """softmax(q k^T / sqrt(D)) v of each head, through the output projection."""
        a = F.scaled_dot_product_attention(q, k, v, is_causal=causal)  # (B, H, T, D)
        out: Tensor = self.out_proj(a.transpose(1, 2).flatten(2))  # (B, T, W)
        return out


class Mlp(nn.Module):
    """Two linear layers with CLIP's activation between them."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.quick = activation == "quick_gelu"
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        u: Tensor = self.c_fc(x)
        u = u * torch.sigmoid(1.702 * u) if self.quick else F.gelu(u)
        out: Tensor = self.c_proj(u)
        return out


class Block(nn.Module):
    """A pre-LN transformer block; `dual` also gives what the block adds to the V-V path."""

    def __init__(self, width: int, hidden: int, head_width: int, activation: str, eps: float) -> None:
        super().__init__()
        self.attn = Attention(width, width // head_width)
        self.ln_1 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, hidden, activation)
        self.ln_2 = nn.LayerNorm(width, eps)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        x = x + self.attn.attend(*self.attn.project(self.ln_1(x)), causal)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out

    def dual(self, o: Tensor, class_only: bool) -> tuple[Tensor, Tensor]:
        """The original path after this block, and P(softmax(v v^T / sqrt(D)) v) for the V-V path.

        class_only: nothing reads the original path's patches any more, so only its class token is computed.
        """
        u = self.ln_1(o)
        q, k, v = self.attn.project_first_query(u) if class_only else self.attn.project(u)
        o = (o[:, :1] if class_only else o) + self.attn.attend(q, k, v)
        o = o + self.mlp(self.ln_2(o))
        return o, self.attn.attend(v, v, v)


class Transformer(nn.Module):
    """A stack of blocks, under the name the weights use."""

    def __init__(self, layers: int, width: int, hidden: int, head_width: int, activation: str, eps: float) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, hidden, head_width, activation, eps) for _ in range(layers))

    def blocks(self) -> list[Block]:
        """The blocks in order, typed."""
        return [block for block in self.resblocks if isinstance(block, Block)]


class VisualTower(nn.Module):
    """CLIP's vision transformer with the original path o and, in its last blocks, the V-V path z beside it."""

    def __init__(self, config: AnomalyCLIPConfig) -> None:
        super().__init__()
        c, width = config, config.vision_width
        self.config = config
        self.conv1 = nn.Conv2d(3, width, c.patch_size, c.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(c.native_grid**2 + 1, width))
        self.ln_pre = nn.LayerNorm(width, c.layer_norm_eps)
        self.transformer = Transformer(
            c.vision_layers, width, c.vision_mlp_width, c.vision_head_width, c.activation, c.layer_norm_eps
        )
        self.ln_post = nn.LayerNorm(width, c.layer_norm_eps)
        self.proj = nn.Parameter(torch.empty(width, c.embedding_width))

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to the tokens before the first block, (B, 1 + N, W)."""
        x = self.conv1(images).flatten(2).transpose(1, 2)  # (B, N, W)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)  # (B, 1 + N, W)
        out: Tensor = self.ln_pre(x + self.positions(images.shape[2] // self.config.patch_size))
        return out

    def positions(self, grid: int) -> Tensor:
        """The position embedding, (1 + grid^2, W), its patch part resized when the grid is not the trained one."""
        native = self.config.native_grid
        if grid == native:
            return self.positional_embedding
        patches = self.positional_embedding[1:].view(native, native, -1).permute(2, 0, 1)[None]  # (1, W, n, n)
        mode = self.config.position_interpolation
        patches = F.interpolate(patches, (grid, grid), mode=mode, align_corners=False)  # (1, W, g, g)
        return torch.cat([self.positional_embedding[:1], patches[0].flatten(1).T])  # (1 + g^2, W)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The class token after the last block, (B, W), and the tapped patch tokens, each (B, 1 + N, W)."""
        taps, last_tap = [], self.config.features_list[-1]
        o = self.embed(images)
        z: Tensor | None = None
        for number, block in enumerate(self.transformer.blocks(), start=1):
            # The V-V path has no influence on the original one: it begins at the first replaced block and is not
            # computed past the last block that is tapped.
            if self.config.first_dual_block < number <= last_tap:
                before = o if z is None else z
                o, added = block.dual(o, class_only=number == self.config.vision_layers)
                z = before + added
            else:
                o = block(o)
            if number in self.config.features_list:
                taps.append(o if z is None else z)
        return o[:, 0], taps


class PromptLearner(nn.Module):
    """The two prompts "X ... X object." and "X ... X damaged object." with learned X, and the compound prompts.

    Parameters and buffers carry the names of the published checkpoints.
    """

    tokenized_prompts_pos: Tensor
    tokenized_prompts_neg: Tensor
    token_prefix_pos: Tensor
    token_prefix_neg: Tensor
    token_suffix_pos: Tensor
    token_suffix_neg: Tensor

    def __init__(self, config: AnomalyCLIPConfig) -> None:
        super().__init__()
        width, rest = config.text_width, config.context_length - 1 - config.n_ctx
        self.rounds = config.compound_precision == "float16"
        self.ctx_pos = nn.Parameter(torch.empty(1, 1, config.n_ctx, width))
        self.ctx_neg = nn.Parameter(torch.empty(1, 1, config.n_ctx, width))
        self.compound_prompts_text = nn.ParameterList(
            nn.Parameter(torch.empty(config.t_n_ctx, width)) for _ in range(config.depth - 1)
        )
        for side in ("pos", "neg"):
            self.register_buffer(f"token_prefix_{side}", torch.empty(1, 1, 1, width))
            self.register_buffer(f"token_suffix_{side}", torch.empty(1, 1, rest, width))
            self.register_buffer(
                f"tokenized_prompts_{side}", torch.empty(1, 1, config.context_length, dtype=torch.int32)
            )

    def forward(self) -> Tensor:
        """Both prompts as token embeddings, (2, T, W)."""
        normal = torch.cat([self.token_prefix_pos, self.ctx_pos, self.token_suffix_pos], dim=2)  # (1, 1, T, W)
        abnormal = torch.cat([self.token_prefix_neg, self.ctx_neg, self.token_suffix_neg], dim=2)  # (1, 1, T, W)
        return torch.cat([normal, abnormal]).squeeze(1)  # (2, T, W)

    def ends(self) -> Tensor:
        """Where each prompt's end-of-text token stands: it has the largest id."""
        tokens = torch.cat([self.tokenized_prompts_pos, self.tokenized_prompts_neg]).squeeze(1)  # (2, T)
        return tokens.argmax(dim=1)

    def compound(self, index: int, rows: int) -> Tensor:
        """What replaces the tokens after the first one before block index + 1, (rows, t_n_ctx, W)."""
        prompt = self.compound_prompts_text[index].expand(rows, -1, -1)
        # Expanded first, rounded then: the gradient of each row passes the rounding by itself.
        rounded: Tensor = prompt.half().to(prompt.dtype) if self.rounds else prompt
        return rounded


@dataclass(frozen=True)
class ImageFeatures:
    """What the image side says: image (B, E) and, for each tapped block, patches (B, 1 + N, E); not normalised."""

    image: Tensor
    patches: list[Tensor]

    def to(self, device: torch.device) -> ImageFeatures:
        return ImageFeatures(self.image.to(device), [tokens.to(device) for tokens in self.patches])


@dataclass(frozen=True)
class Scores:
    """What the model says of a batch."""

    probabilities: Tensor  # (B, 2): normal, abnormal; the image score is column 1
    similarity_maps: list[Tensor]  # for each tapped block (B, 2, S, S)
    anomaly_map: Tensor  # (B, S, S)
    embedding: Tensor  # (B, E), of length 1


class AnomalyCLIP(nn.Module):
    """The whole model; built once from weights, never changed afterwards."""

    def __init__(self, config: AnomalyCLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = VisualTower(config)
        self.transformer = Transformer(
            config.text_layers,
            config.text_width,
            config.text_mlp_width,
            config.text_head_width,
            config.activation,
            config.layer_norm_eps,
        )
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.text_width))
        self.ln_final = nn.LayerNorm(config.text_width, config.layer_norm_eps)
        self.text_projection = nn.Parameter(torch.empty(config.text_width, config.embedding_width))
        self.prompt_learner = PromptLearner(config)
        self.requires_grad_(False)
        self.prompt_learner.requires_grad_(True)
        self.eval()

    @classmethod
    def from_weights(cls, config: AnomalyCLIPConfig, clip: Weights, prompts: Weights) -> Self:
        """Build the model on these weights, all of them given: nothing in it is drawn or left unset."""
        with torch.device("meta"):
            model = cls(config)
        weights = {key: value for key, value in clip.items() if key not in UNUSED_CLIP_KEYS}
        weights |= {
            f"prompt_learner.{key}": value
            for key, value in prompts.items()
            if not key.startswith("compound_prompt_projections.")  # in published checkpoints, and never used
        }
        _check_shapes(model.state_dict(), weights)
        check_numbers(weights)
        # Training writes to the prompts: what the caller gave stays as it is. The frozen backbone is shared.
        weights = {key: value.clone() if key.startswith("prompt_learner.") else value for key, value in weights.items()}
        model.load_state_dict(weights, assign=True)
        model.visual.requires_grad_(False)
        return model

    def encode_text(self) -> Tensor:
        """The features of both prompts, (2, E), not normalised."""
        x = self.prompt_learner() + self.positional_embedding  # (2, T, W)
        for i, block in enumerate(self.transformer.blocks()):
            if 1 <= i < self.config.depth:
                compound = self.prompt_learner.compound(i - 1, len(x))  # (2, t_n_ctx, W)
                x = torch.cat([x[:, :1], compound, x[:, 1 + compound.shape[1] :]], dim=1)  # (2, T, W)
            x = block(x, causal=True)
        x = self.ln_final(x)[torch.arange(len(x), device=x.device), self.prompt_learner.ends()]  # (2, W)
        features: Tensor = x @ self.text_projection
        return features

    def text_features(self) -> Tensor:
        """The features of both prompts, (2, E), of length 1: compute them once per prompt set and keep them."""
        return unit_length(self.encode_text())

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode preprocessed images, (B, 3, S, S)."""
        cls, taps = self.visual(images.to(self.visual.conv1.weight.dtype))
        if self.config.ln_post_on_image_feature:
            cls = self.visual.ln_post(cls)
        return ImageFeatures(cls @ self.visual.proj, [self.visual.ln_post(tap) @ self.visual.proj for tap in taps])

    def score(self, features: ImageFeatures, text: Tensor) -> Scores:
        """Compare image features with text features of length 1, in float32 at least whatever the model's dtype."""
        embedding = unit_length(features.image)
        maps = [self.similarity_map(tokens, text) for tokens in features.patches]
        return Scores(
            probabilities=(self.image_logits(embedding, text)).softmax(dim=-1),
            similarity_maps=maps,
            anomaly_map=smooth(self.fuse(maps), self.config.sigma, self.config.truncate),
            embedding=embedding,
        )

    def image_logits(self, embedding: Tensor, text: Tensor) -> Tensor:
        """Cosine over temperature of each image with each prompt, (B, 2)."""
        return embedding @ text.T / self.config.temperature

    def similarity_map(self, tokens: Tensor, text: Tensor) -> Tensor:
        """The probability of normal and abnormal for each pixel, (B, 2, S, S), from (B, 1 + N, E)."""
        patches = unit_length(tokens[:, 1:])  # (B, N, E): the class token is no patch
        pair = (patches @ text.T / self.config.temperature).softmax(dim=-1)  # (B, N, 2)
        grid, size = self.config.grid, self.config.image_size
        pair = pair.transpose(1, 2).reshape(-1, 2, grid, grid)  # (B, 2, g, g)
        return F.interpolate(pair, (size, size), mode="bilinear", align_corners=False)  # (B, 2, S, S)

    def fuse(self, maps: list[Tensor]) -> Tensor:
        """One map before smoothing, (B, S, S), from the similarity maps of all tapped blocks."""
        fused = torch.stack([(pair[:, 1] + 1 - pair[:, 0]) / 2 for pair in maps]).sum(dim=0)
        return fused / len(maps) if self.config.map_fusion == "mean" else fused

    def forward(self, images: Tensor, text: Tensor) -> Scores:
        """Score preprocessed images, (B, 3, S, S), against text features of length 1, (2, E)."""
        return self.score(self.encode_image(images), text)


def unit_length(features: Tensor) -> Tensor:
    """Features (..., E) of length 1, in float32 at least: half precision is for the towers, not for the scores."""
    return F.normalize(features if features.dtype == torch.float64 else features.float(), dim=-1)


def smooth(maps: Tensor, sigma: float, truncate: float) -> Tensor:
    """Gaussian filter over each map, (B, S, S); edges mirrored with the edge pixel repeated (scipy's "reflect")."""
    if sigma == 0:
        return maps
    kernel = _smoothing_matrix(maps.shape[-1], sigma, truncate).to(maps)
    return kernel @ maps @ kernel.T


def _smoothing_matrix(size: int, sigma: float, truncate: float) -> Tensor:
    """The filter along one axis as a matrix, (size, size): row i holds what pixel i is made of."""
    radius = int(truncate * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    columns = (torch.arange(size)[:, None] + offsets) % (2 * size)  # (size, 2 radius + 1)
    columns = torch.minimum(columns, 2 * size - 1 - columns)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, columns, (weights / weights.sum()).expand(size, -1))


def _check_shapes(expected: Weights, given: Weights) -> None:
    problems = [f"{key}: missing" for key in expected if key not in given]
    problems += [f"{key}: not part of this model" for key in given if key not in expected]
    problems += [
        f"{key}: given {tuple(given[key].shape)}, needed {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    if problems:
        raise ModelShapeWrong(problems)


def check_numbers(weights: Weights) -> None:
    """Refuse weights that are not all numbers."""
    problems = [f"{key}: holds NaN or infinity" for key, value in weights.items() if not value.isfinite().all()]
    if problems:
        raise ModelShapeWrong(problems)
