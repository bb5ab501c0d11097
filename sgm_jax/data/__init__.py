"""Images and what they show in, one normalisation, and seeded, resumable batches."""

from sgm_jax.data.batches import Batches, prefetch
from sgm_jax.data.condition import Condition, open_condition, read_condition
from sgm_jax.data.images import Images, from_array
from sgm_jax.data.normalise import PixelScale, data_std, to_uint8
from sgm_jax.data.readers import open_images
from sgm_jax.data.scaling import Scaling

__all__ = [
    "Batches",
    "Condition",
    "Images",
    "PixelScale",
    "Scaling",
    "data_std",
    "from_array",
    "open_condition",
    "open_images",
    "prefetch",
    "read_condition",
    "to_uint8",
]
