"""Measures: how faithful a reconstruction is, how close a set of samples is to a set of data, how new each one is."""

from .images import psnr, ssim
from .judge import Judge
from .retrieval import found_first
from .sets import frechet_distance, kid, nearest_distance, precision_recall

__all__ = ["Judge", "found_first", "frechet_distance", "kid", "nearest_distance", "precision_recall", "psnr", "ssim"]
