import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models.embeddings import FourierEmbedding, positional_embedding
from tests.fixture_files import fixture_files

FILES = fixture_files("fir_embed.npz")


@pytest.mark.parity
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_embeddings_agree_with_the_original(path):
    arrays = np.load(path)
    labels = jnp.asarray(arrays["pos_labels"])
    names = [name for name in arrays.files if name.startswith("pos_emb_dim")]
    assert names
    for name in names:
        ours = positional_embedding(labels, int(name.removeprefix("pos_emb_dim")))
        np.testing.assert_allclose(ours, arrays[name], atol=2e-4)
    weights = {"params": {"W": jnp.asarray(arrays["fourier_W"])}}
    fourier = FourierEmbedding(arrays["fourier_W"].size, 1.0)
    ours = fourier.apply(weights, jnp.asarray(arrays["fourier_in"]))
    np.testing.assert_allclose(ours, arrays["fourier_emb"], atol=2e-4)


def test_positions_turn_at_the_highest_and_lowest_frequency():
    embedding = positional_embedding(jnp.array([0.0, 2.0]), 8, max_positions=100.0)
    np.testing.assert_allclose(embedding[0], [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-6)
    angles = 2.0 * 100.0 ** (-np.arange(4) / 3)
    expected = np.concatenate([np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(embedding[1], expected, rtol=1e-5)


def test_fourier_frequencies_have_the_asked_spread_and_no_gradient(key):
    module = FourierEmbedding(4096, 16.0)
    params = module.init(key, jnp.ones((1,)))
    np.testing.assert_allclose(np.std(params["params"]["W"]), 16.0, rtol=0.05)
    grads = jax.grad(lambda p: module.apply(p, jnp.array([0.3])).sum())(params)
    assert not np.any(grads["params"]["W"])
