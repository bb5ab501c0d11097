"""Compare sets of images, whatever made them.

from evaluation import evaluate
report = evaluate("test/", "samples.npz", train="train/")
report["w1/corrected"], report.headline()
report.save("report")
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import `evaluate` when it is asked for: it imports JAX, which the commands start later."""
    if name != "evaluate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from evaluation.evaluator import evaluate

    return evaluate
