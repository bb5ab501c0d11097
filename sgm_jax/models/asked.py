"""What networks are asked to show, as a vector; some see none."""

import dataclasses
from typing import Any

import jax
import ml_collections

from sgm_jax.models.condition import (
    PARAMETERS,
    Condition,
    ConditionEmbedding,
    drop,
    of_images,
)

Array = jax.Array
Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Asked:
    """The vector of a condition, such as a bias in every gate; None where networks see none.

    Attributes:
        embedding: of conditions, if there are any.
        drop_condition: share of images in training of which all of it is forgotten.
        drop_field: share of them of which each field is.
    """

    embedding: ConditionEmbedding | None
    drop_condition: float
    drop_field: float

    @property
    def fields(self) -> tuple[str, ...]:
        """What is looked at, of :data:`sgm_jax.models.condition.ANY`."""
        return () if self.embedding is None else tuple(self.embedding.fields)

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict, features: int) -> "Asked":
        """Return what a configuration's networks are asked with vectors of so many numbers."""
        model, training = config.model, config.training
        embedding: Any = None
        if model.condition:
            embedding = ConditionEmbedding(
                features, tuple(model.condition), len(config.data.particles), model.momentum_scale
            )
        return cls(embedding, training.drop_condition, training.drop_field)

    def init(self, key: Array) -> tuple[Params, Array | None]:
        """Return random parameters and a vector like those that will be."""
        if self.embedding is None:
            return {}, None
        nothing = of_images(self.embedding.fields, 1)
        params = {PARAMETERS: self.embedding.init(key, nothing)["params"]}
        return params, self.vector(params, None, 1)

    def vector(self, params: Params, condition: Condition | None, count: int) -> Array | None:
        """Return what is asked of so many images as vectors ``[count, E]``."""
        if self.embedding is None:
            return None
        asked = of_images(self.embedding.fields, count)
        asked |= {k: v for k, v in (condition or {}).items() if k in self.embedding.fields}
        return self.embedding.apply({"params": params[PARAMETERS]}, asked)

    def forgotten(self, key: Array, batch: dict[str, Any]) -> Condition | None:
        """Return the condition of a batch in training, with some of it forgotten."""
        condition = batch.get("condition")
        if self.embedding is None or condition is None:
            return condition
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])
        return drop(keys, condition, whole=self.drop_condition, field=self.drop_field)
