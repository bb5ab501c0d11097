"""Classifiers of noised images that are small enough for a test."""

import numpy as np

from tests.tiny_run import tiny_config, write_images

CLASSIFIER = {
    "generator": "classifier",
    "data.centered": False,
    "data.particles": ("muon", "proton"),
    "model.condition": ("particle", "momentum"),
    "model.ch_mult": (1, 1),
    "model.dropout": 0.0,
    "model.space_to_depth": 2,
}


def classifier_config(folder, **overrides):
    """Return a locked configuration on what :func:`write_particles` wrote to a folder."""
    shown = {"data.condition": str(folder / "{split}.npz")}
    return tiny_config(folder, **CLASSIFIER | shown | overrides)


def write_particles(folder):
    """Write a training and a test set of random images, and which particle each is said to show."""
    write_images(folder)
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        momentum = rng.normal(size=(20, 3))
        momentum *= rng.uniform(100, 500, (20, 1)) / np.linalg.norm(momentum, axis=1)[:, None]
        np.savez(folder / f"{name}.npz", particle=np.arange(20) % 2, momentum=momentum)
