"""Networks whose inner pictures compare well: a small one that comes with the library, and VGG-16 from the reader's file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect, image_batch, whole_number
from ..files import read_safetensors
from .config import Config


@dataclass(frozen=True)
class FeatureNetConfig(Config):
    """One stage a width, each at half the side of the one before; ``heads``: the number of answers to each question asked.

    The questions of ``losses.pretext_loss`` are: which photograph (15 of them), turned how far (4), damaged how (5).
    Raises ``ValueError`` for sizes < 1, no stage or no question.
    """

    in_channels: int = 3
    widths: tuple[int, ...] = (24, 48, 96, 160)
    heads: tuple[int, ...] = (15, 4, 5)

    def __post_init__(self) -> None:
        whole_number("in_channels", self.in_channels, 1)
        expect(len(self.widths) >= 1 and min(self.widths) >= 1, "widths", self.widths, "at least one stage of width >= 1")
        expect(len(self.heads) >= 1 and min(self.heads) >= 1, "heads", self.heads, "at least one question with answers")

    @property
    def factor(self) -> int:
        """How many times smaller the last stage's side is than the picture's."""
        return 2 ** (len(self.widths) - 1)

    def build(self) -> "FeatureNet":
        """The module, freshly initialised."""
        return FeatureNet(self)


EPS = 1e-8  # under the root: where no feature is active, or a kernel uniform, 0 / 0 and an infinite gradient are avoided


def unit(f: Tensor) -> Tensor:
    """Each pixel's feature vector divided by its length, (B, C, H, W) -> the same; a vector of zeros stays."""
    return f * torch.rsqrt((f**2).sum(1, keepdim=True) + EPS)


class Standardised(nn.Conv2d):
    """A 3x3 convolution whose kernels have mean 0 and the norm that keeps ReLU's output at unit scale; borders are repeated.

    What is uniform in the input does not pass: the first layer is blind to brightness, and no normalisation of
    activations is needed. Source: Qiao et al., Micro-Batch Training with ... Weight Standardization (2019), section 3.
    """

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        w = w * torch.rsqrt(w.square().sum((1, 2, 3), keepdim=True) / 2 + EPS)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), w, self.bias)


class FeatureNet(nn.Module):
    """Two 3x3 convolutions a stage, ReLU, and average pooling between stages, as in VGG; no normalisation of activations.

    A feature depends on the pixels near it only, and not at all on the picture's brightness. The head sees the mean of
    the *unit* feature vectors of every stage: the training then shapes just what ``perceptual_distance`` compares, in each
    stage, not the last alone. It is not needed afterwards.
    Source: Simonyan and Zisserman (2015) for the form; average pooling, Gatys et al. (2016), section 2.
    """

    def __init__(self, config: FeatureNetConfig) -> None:
        super().__init__()
        self.config = config
        cins = (config.in_channels, *config.widths)
        self.stages = nn.ModuleList(
            nn.Sequential(Standardised(cin, width, 3), nn.ReLU(), Standardised(width, width, 3), nn.ReLU())
            for cin, width in zip(cins, config.widths)
        )
        self.head = nn.Linear(sum(config.widths), sum(config.heads))

    def features(self, x: Tensor) -> list[Tensor]:
        """x: (B, in_channels, H, W) in [-1, 1] -> a map (B, width, H / 2^i, W / 2^i) for each stage i = 0, 1, ...

        Raises ``ValueError`` for other channels or sides that the stages cannot halve.
        """
        image_batch("x", x, self.config.in_channels, self.config.factor)
        maps: list[Tensor] = []
        for stage in self.stages:
            maps.append(stage(F.avg_pool2d(maps[-1], 2) if maps else x))
        return maps

    def forward(self, x: Tensor) -> list[Tensor]:
        """The logits of each question, (B, heads[k]) for every k. x as for ``features``."""
        means = [unit(f).mean((2, 3)) * f.shape[1] ** 0.5 for f in self.features(x)]
        return list(self.head(torch.cat(means, 1)).split(self.config.heads, 1))


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of pixels in [0, 1]
VGG16 = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # torchvision's numbers of the convolutions, by block


class VGG16Features(nn.Module):
    """VGG-16's convolutions, frozen: (B, 3, H, W) in [-1, 1] -> maps after relu1_2, 2_2, 3_3, 4_3, 5_3, halved in between.

    A feature function for ``perceptual_distance``. ``weights``: LPIPS's linear weights, a vector (C,) a layer; None if
    there was no file of them. ``from_file`` makes one; the widths are those of the file.
    Source: Simonyan and Zisserman, Very Deep Convolutional Networks (2015), configuration D; Zhang et al. (2018), section 3.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: Mapping[str, Tensor], weights: list[Tensor] | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(_convolution(state, f"features.{number}.") for number in block) for block in VGG16
        )
        self.weights = weights
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in IMAGENET)
        self.register_buffer("mean", 2 * mean - 1, persistent=False)
        self.register_buffer("std", 2 * std, persistent=False)
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: str | os.PathLike, linear: str | os.PathLike | None = None) -> "VGG16Features":
        """From safetensors files that you have: VGG's "features.0.weight", ... as torchvision names them, the classifier
        ignored; ``linear``: LPIPS's "lin0.model.1.weight" (1, C, 1, 1) to "lin4. ...".

        Raises ``FileNotFoundError``, or ``ValueError`` naming the tensors that are missing or misshapen, or a pickle.
        """
        state, _ = read_safetensors(path)
        if linear is None:
            return cls(state)
        lines, _ = read_safetensors(linear)
        names = [f"lin{i}.model.1.weight" for i in range(len(VGG16))]
        _present(lines, names)
        return cls(state, [lines[name].float().flatten() for name in names])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Raises ``ValueError`` for other channels than 3."""
        image_batch("x", x, 3, 1)
        h, maps = (x - self.mean) / self.std, []
        for i, block in enumerate(self.blocks):
            h = F.max_pool2d(h, 2) if i > 0 else h
            for convolution in block:  # type: ignore[attr-defined]
                h = F.relu(convolution(h))
            maps.append(h)
        return maps


def _convolution(state: Mapping[str, Tensor], prefix: str) -> nn.Conv2d:
    """The 3x3 convolution whose weight and bias are in ``state``."""
    _present(state, [f"{prefix}weight", f"{prefix}bias"])
    weight, bias = (state[f"{prefix}{name}"].float() for name in ("weight", "bias"))
    good = weight.ndim == 4 and weight.shape[2:] == (3, 3) and bias.shape == weight.shape[:1]
    expect(good, f"{prefix}weight", f"shapes {tuple(weight.shape)} and {tuple(bias.shape)}", "(cout, cin, 3, 3), (cout,)")
    with torch.device("meta"):
        convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    convolution.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return convolution


def _present(state: Mapping[str, Tensor], names: list[str]) -> None:
    missing = [name for name in names if name not in state]
    expect(not missing, "path", f"a file without {', '.join(missing)}", "tensors named as torchvision's or LPIPS's")
