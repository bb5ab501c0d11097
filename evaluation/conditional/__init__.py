"""Do images show the particle and the momentum that were asked for? Compared with a simulation.

from evaluation.conditional import evaluate_conditional
report = evaluate_conditional("data/cond64/test/larcv_png_64", {"g1": "runs/X/samples/step_020000"})
report["response/all/deviation"], report.save("obey")
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import the function when it is asked for: it imports JAX, which the command starts later."""
    if name != "evaluate_conditional":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from evaluation.conditional.evaluator import evaluate_conditional

    return evaluate_conditional
