"""A check against releases of JAX that compute wrong numbers."""

import jax
import jax.numpy as jnp
import numpy as np


def check_jax() -> None:
    """Stop if this jax gets a sum of logarithms wrong.

    From 0.10.2 to 0.12.0.1 at least, jax on CPU loses half or more of a compiled
    ``(log(a d) + log(b d)).sum()`` over 4096 or more floats, and log1p and expm1 alike: a
    likelihood or a loss computed with it is worthless. 0.10.1 is right.

    Raises:
        RuntimeError: with the version and the fix.
    """
    d = np.linspace(1.0, 2.0, 8192, dtype=np.float32)
    got = float(jax.jit(lambda d: (jnp.log(d * 0.5) + jnp.log(d * 0.125)).sum())(d))
    want = float((np.log(d * 0.5) + np.log(d * 0.125)).sum())
    if abs(got - want) > 1e-3 * abs(want):
        raise RuntimeError(
            f"jax {jax.__version__} computes wrong numbers here: a sum of logarithms gives "
            f"{got:.6g} instead of {want:.6g}. Install one that does not: "
            "pip install jax==0.10.1 jaxlib==0.10.1"
        )
