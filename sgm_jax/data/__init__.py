"""Images in, one normalisation, and seeded, resumable batches."""

from sgm_jax.data.batches import Batches, in_order, prefetch
from sgm_jax.data.images import Images, from_array
from sgm_jax.data.normalise import data_std, from_model, to_model, to_uint8
from sgm_jax.data.readers import open_images

__all__ = [
    "Batches",
    "Images",
    "data_std",
    "from_array",
    "from_model",
    "in_order",
    "open_images",
    "prefetch",
    "to_model",
    "to_uint8",
]
