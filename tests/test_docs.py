"""The examples of the documentation run, and do what the text says."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from sgm_jax.config import check
from sgm_jax.generator import GENERATORS
from sgm_jax.sample import sample
from sgm_jax.train import train
from tests.tiny_run import tiny_config

DOCS = Path(__file__).parents[1] / "docs"
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def names():
    """What the examples of extending.md define, one after the other."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(), re.S)
    assert len(blocks) == 4
    before, defined = dict(GENERATORS), {"__name__": "examples"}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(block, defined)
    yield defined
    GENERATORS.clear()
    GENERATORS.update(before)


def test_the_sampler_draws_the_distribution_of_the_score(names):
    images = np.asarray(names["images"])
    count = images.size
    np.testing.assert_allclose(images.mean(), 3, atol=4 / count**0.5)
    np.testing.assert_allclose(images.std(), 1, atol=0.05)


def test_the_metric_is_a_row_of_the_report(names):
    row = names["report"]["brightest"]
    real, generated = names["real"], names["generated"]
    expected = real.max((1, 2)).mean() - generated.max((1, 2)).mean()
    np.testing.assert_allclose(row.value, expected, rtol=1e-6)
    assert row.floor < row.value and row.n == 200 and row.definition


@pytest.mark.usefixtures("optax_promotion")
def test_the_generator_is_trained_and_drawn_from(names, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (64, 1, 16), np.uint8).repeat(16, axis=1)
    for name in ("train", "test"):
        np.save(tmp_path / f"{name}.npy", images)
    options = {"generator": "pixels", "data.centered": False, "data.random_flip": False}
    config = tiny_config(tmp_path, **options, **{"training.n_iters": 8})
    check(config)
    train(config, tmp_path / "run")
    out = sample(config, tmp_path / "run", num_samples=400, out=tmp_path / "out")
    drawn = np.load(out / "samples.npz")["raw"][..., 0]
    np.testing.assert_allclose(drawn.mean(0), images.mean(0), atol=20)
    np.testing.assert_allclose(drawn.std(0), images.std(0), rtol=0.2)


@pytest.mark.parametrize(
    "page",
    [DOCS.parent / "README.md", *DOCS.rglob("*.md")],
    ids=lambda path: str(path.relative_to(DOCS.parent)),
)
def test_links_lead_somewhere(page):
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing
