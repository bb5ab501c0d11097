"""What the networks of families beside the score model are asked to show, and what they refuse."""

import dataclasses
from typing import Any

import jax
import ml_collections

from sgm_jax.conditions import Conditions
from sgm_jax.generator import Batch
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
    """The vector of a condition, which networks see; None where they see none.

    Attributes:
        embedding: of conditions, if there are any.
        drop_condition: share of images in training of which all of it is forgotten.
        drop_field: share of them of which each field is.
    """

    embedding: ConditionEmbedding | None
    drop_condition: float
    drop_field: float

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

    def forgotten(self, key: Array, batch: Batch) -> Condition | None:
        """Return the condition of a batch in training, with some of it forgotten."""
        condition = batch.get("condition")
        if self.embedding is None or condition is None:
            return condition
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])
        return drop(keys, condition, whole=self.drop_condition, field=self.drop_field)

    def check(self, conditions: Conditions) -> None:
        """Refuse all but what the networks were trained with.

        Raises:
            ValueError: with the flag, or the fields.
        """
        for given, flag in (
            (conditions.known, "inpaint"),
            (conditions.tile, "canvas"),
            (conditions.observable, "observable"),
            (conditions.leading, "classifier"),
        ):
            if given is not None:
                raise ValueError(
                    f"--{flag} is for the score family; this one draws all pixels of an image, in "
                    "its order"
                )
        fields = () if self.embedding is None else self.embedding.fields
        missing = [name for name in conditions.condition or () if name not in fields]
        if missing:
            raise ValueError(
                f"these networks were trained without {', '.join(missing)}: train some with "
                "--config.model.condition and --config.data.condition"
            )


def check_drawing(fields: dict[str, Any]) -> None:
    """Refuse to guide what draws as it was learnt.

    Raises:
        ValueError: with the fix.
    """
    if fields["sampling.guidance"] != 1 or fields["sampling.guidance_interval"]:
        raise ValueError(
            f"--guidance={fields['sampling.guidance']} is for the score family; this one follows "
            "a condition as it was learnt: set --config.sampling.guidance=1"
        )
