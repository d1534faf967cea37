"""Floor 5. Measures: how faithful a reconstruction is, how close a set of samples is to a set of data, how new each one is."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import expect


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, one for each image, (B,). x, y: (B, C, H, W) in [-1, 1]. Implements :eq:`psnr`.

    The peak-to-peak range is 2. Identical images give infinity. Raises ``ValueError`` for shapes that differ.
    """
    expect(x.shape == y.shape, "y", f"shape {tuple(y.shape)}", f"the shape of x, {tuple(x.shape)}")
    mse = ((x - y) ** 2).flatten(1).mean(1)
    return 10 * torch.log10(4 / mse)


def frechet_distance(x_features: Tensor, y_features: Tensor) -> float:
    """Squared Frechet distance between the Gaussians fitted to two sets of features, (N, D) and (M, D). Implements :eq:`frechet`.

    Computed in float64; the trace of the square root from the eigenvalues of a symmetric product. Raises ``ValueError`` for
    unlike widths or fewer than two rows. Source: Dowson and Landau (1982); Heusel et al., GANs Trained by a Two
    Time-Scale Update Rule (2017), equation 6.
    """
    for name, features in (("x_features", x_features), ("y_features", y_features)):
        expect(features.ndim == 2 and len(features) >= 2, name, f"shape {tuple(features.shape)}", "(N, D) with N >= 2")
    expect(
        x_features.shape[1] == y_features.shape[1],
        "y_features",
        f"width {y_features.shape[1]}",
        f"the width of x_features, {x_features.shape[1]}",
    )
    x, y = x_features.double().cpu(), y_features.double().cpu()
    cov_x, cov_y = (torch.atleast_2d(torch.cov(f.T)) for f in (x, y))
    root = _sqrt_psd(cov_x)
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + cov_x.trace() + cov_y.trace() - 2 * cross)


def _sqrt_psd(matrix: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


EXACT = "donot_use_mm_for_euclid_dist"  # the fast way loses small distances to cancellation


def nearest_distance(x: Tensor, reference: Tensor, chunk: int = 256) -> Tensor:
    """Distance of every row of x to its nearest row in ``reference``, root mean square over entries, (N,).

    x: (N, ...), reference: (M, ...), flattened. A value near the error of reconstruction suggests a copy.
    """
    flat, others = x.flatten(1), reference.flatten(1)
    expect(
        flat.shape[1] == others.shape[1], "reference", f"{others.shape[1]} entries a row", f"{flat.shape[1]}, as in x"
    )
    nearest = torch.cat([torch.cdist(part, others, compute_mode=EXACT).min(dim=1).values for part in flat.split(chunk)])
    return nearest / math.sqrt(flat.shape[1])


class Judge:
    """Two instruments that have seen real digits only: a classifier and a space of features.

    The classifier (scikit-learn's SVC) knows the training digits; the features are the principal components of the
    held-out ones. Neither has seen a network's output, and no network has seen the held-out digits.
    """

    def __init__(self, train_images: Tensor, train_labels: Tensor, test_images: Tensor, components: int = 20) -> None:
        from sklearn.decomposition import PCA
        from sklearn.svm import SVC

        self.classifier: Any = SVC().fit(self._pixels(train_images), train_labels.numpy())
        self.projection: Any = PCA(components).fit(self._pixels(test_images))

    @staticmethod
    def _pixels(images: Tensor) -> np.ndarray:
        """Images (N, C, H, W) as rows of an 8x8 picture each: what the scans really hold."""
        return torch.nn.functional.adaptive_avg_pool2d(images.float().cpu(), 8).flatten(1).numpy()

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """The share of images (N, C, H, W) that the classifier takes for their label (N,)."""
        return float((self.classifier.predict(self._pixels(images)) == labels.cpu().numpy()).mean())

    def features(self, images: Tensor) -> Tensor:
        """Principal components (N, components) of images (N, C, H, W)."""
        return torch.from_numpy(self.projection.transform(self._pixels(images)))
