"""Deliberately bad images: what a metric must notice."""

import numpy as np
from scipy.ndimage import gaussian_filter


def scale_charge(images: np.ndarray, factor: float = 0.95) -> np.ndarray:
    """Multiply the pixels of uint8 ``[N, H, W]`` images; round, and clip at 255."""
    return np.clip(np.rint(images * float(factor)), 0, 255).astype(np.uint8)


def drop_pixels(images: np.ndarray, fraction: float = 0.02, *, seed: int) -> np.ndarray:
    """Set a random ``fraction`` of all pixels of ``[N, H, W]`` images to zero."""
    kept = np.random.default_rng(seed).random(images.shape) >= fraction
    return images * kept.astype(images.dtype)


def blur(images: np.ndarray, sigma_px: float = 0.5) -> np.ndarray:
    """Smear uint8 ``[N, H, W]`` images with a Gaussian, and round."""
    smeared = gaussian_filter(images.astype(np.float32), (0.0, sigma_px, sigma_px), mode="constant")
    return np.clip(np.rint(smeared), 0, 255).astype(np.uint8)
