"""A judge of digits that no network has taught: a classifier and features from real scans alone."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


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
