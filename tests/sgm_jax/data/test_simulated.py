"""What the recipe of a simulation says of its images."""

import json

import pytest

from sgm_jax.data.simulated import simulation_recipe, units


def test_units_are_those_of_the_recipe_beside_the_images(tmp_path):
    images = tmp_path / "test/larcv_png_64"
    assert units(images) == {} and simulation_recipe(images) == {}
    note = tmp_path / "recipe.json"
    note.write_text(json.dumps({"mev_per_level": 0.1, "simulation": {"pixel_mm": 3.0}}))
    assert units(str(images)) == {"mev_per_level": 0.1, "pixel_mm": 3.0}
    note.write_text(json.dumps({"simulation": {"pixel_mm": 3.0}}))  # each image has its scale
    assert units(images) == {"pixel_mm": 3.0}
    note.write_text(json.dumps({"seed": 3}))  # of something else
    assert units(images) == {}
    note.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        units(images)
