"""How well pixels and images are labelled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evaluation.ssnet import CLASSES, SHOWER, TRACK, Array
from evaluation.ssnet_rules import count_votes

CALIBRATION_BINS = 20
# Pixels above this count in the loss, as in the original.
_CHARGED = 1e-6


def segmentation_loss(
    logits: Array,
    images: Array,
    labels: Array,
    *,
    empty_pixels: bool,
    axis_name: str | None = None,
) -> Array:
    """Return the paper's loss of each image, ``[B]``.

    Cross-entropy with class weights of one minus the class's share of all pixels of the batch,
    summed over charged pixels and divided by their number. An image without charge has loss 0,
    where the original divides by zero.

    Args:
        logits: ``[B, H, W, classes]``.
        images: ``[B, H, W, 1]``.
        labels: ``[B, H, W]``.
        empty_pixels: also sum over pixels without charge, whose weight is small. The original
            never trains these, though its image label reads them.
        axis_name: devices that share the batch.
    """
    target = jax.nn.one_hot(labels, logits.shape[-1])
    share = target.mean(axis=(0, 1, 2))
    if axis_name is not None:
        share = jax.lax.pmean(share, axis_name)
    weight = (1.0 - share).reshape(1, 1, 1, -1)
    loss = -(target * weight * jax.nn.log_softmax(logits)).sum(axis=-1)
    charged = images[..., 0] > _CHARGED
    summed = loss if empty_pixels else jnp.where(charged, loss, 0.0)
    number = jnp.maximum(charged.sum(axis=(1, 2)), 1).astype(loss.dtype)
    return summed.sum(axis=(1, 2)) / number


class PixelMetrics:
    """Sums over images, from which all numbers of :meth:`summary` follow. Lit pixels only."""

    def __init__(self) -> None:
        """Start empty."""
        self.confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)  # truth, prediction
        self._calibration = np.zeros((3, CALIBRATION_BINS))  # pixels, score, right
        self._agree = {"all_pixels": 0, "lit_pixels": 0}
        self._images = 0

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Add images: scores ``[B, H, W, 3]`` and the true class of each pixel ``[B, H, W]``."""
        is_lit = labels > 0
        truth, guess = labels[is_lit], scores.argmax(axis=-1)[is_lit]
        best = scores.max(axis=-1)[is_lit]
        side = len(CLASSES)
        counted = np.bincount(truth.astype(np.int64) * side + guess, minlength=side**2)
        self.confusion += counted.reshape(side, side)
        place = np.minimum((best * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        for row, weight in enumerate((None, best, truth == guess)):
            self._calibration[row] += np.bincount(place, weight, minlength=CALIBRATION_BINS)
        is_track = (labels == TRACK).sum(axis=(1, 2)) > (labels == SHOWER).sum(axis=(1, 2))
        for rule, among in (("all_pixels", None), ("lit_pixels", is_lit)):
            votes = count_votes(scores, among)
            self._agree[rule] += int((votes.is_track == is_track).sum())
        self._images += len(labels)

    def summary(self) -> dict[str, Any]:
        """Return the numbers by name; tables as lists."""
        right, total = np.diag(self.confusion), max(int(self.confusion.sum()), 1)
        found, true = self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        numbers: dict[str, Any] = {"images": self._images, "accuracy": float(right.sum() / total)}
        for k in (SHOWER, TRACK):
            numbers |= {
                f"{CLASSES[k]}_efficiency": float(right[k] / max(true[k], 1)),
                f"{CLASSES[k]}_purity": float(right[k] / max(found[k], 1)),
                f"{CLASSES[k]}_iou": float(right[k] / max(true[k] + found[k] - right[k], 1)),
            }
        for rule, agree in self._agree.items():
            numbers[f"image_agreement_{rule}"] = agree / max(self._images, 1)
        pixels, score, hits = self._calibration
        numbers["calibration_error"] = float(np.abs(score - hits).sum() / total)
        numbers["calibration"] = {
            "pixels": pixels.astype(int).tolist(),
            "mean_score": np.round(score / np.maximum(pixels, 1), 4).tolist(),
            "accuracy": np.round(hits / np.maximum(pixels, 1), 4).tolist(),
        }
        numbers["confusion"] = self.confusion.tolist()
        return numbers
