"""The guard against a jax that computes wrong numbers."""

import jax
import jax.numpy as jnp
import pytest

from sgm_jax.run.command import check_jax


def test_this_jax_computes_right_numbers():
    check_jax()


def test_a_wrong_sum_is_noticed(monkeypatch):
    # As jax 0.10.2 to 0.12.0.1 do on CPU: half of the sum or more is lost.
    monkeypatch.setattr(jax, "jit", lambda f: lambda d: 0.55 * jnp.asarray(f(d)))
    with pytest.raises(RuntimeError, match="wrong numbers"):
        check_jax()
