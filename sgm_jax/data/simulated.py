"""What the recipe of a simulation says of its images: how they were cut, and their units."""

from pathlib import Path
from typing import Any

from sgm_jax.run.files import read_object

RECIPE = "recipe.json"
_FIX = "simulate the images again"


def simulation_recipe(images: str | Path) -> dict[str, Any]:
    """Return the recipe of simulated images, by their path; nothing if there is none.

    Raises:
        ValueError: if it is damaged.
    """
    path = Path(images).expanduser().parent.parent / RECIPE
    recipe = read_object(path, fix=_FIX) if path.is_file() else {}
    return recipe if isinstance(recipe.get("simulation"), dict) else {}


def units(images: str | Path) -> dict[str, float]:
    """Return ``mev_per_level``, of images with one scale, and ``pixel_mm``, as far as known."""
    recipe = simulation_recipe(images)
    known = {"mev_per_level": recipe.get("mev_per_level")}
    known["pixel_mm"] = recipe.get("simulation", {}).get("pixel_mm")
    return {name: value for name, value in known.items() if value is not None}
