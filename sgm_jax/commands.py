"""The commands that ``pip install`` puts on the path; setup.cfg has their names.

Each runs the module that ``python -m`` runs, so that flags, ``--help`` and worker processes are the
same.
"""

import runpy
from functools import partial


def _run(module: str) -> None:
    runpy.run_module(module, run_name="__main__", alter_sys=True)


main = partial(_run, "sgm_jax.main")
evaluate = partial(_run, "evaluation.__main__")
label = partial(_run, "evaluation.label")
compare = partial(_run, "evaluation.compare")
composed = partial(_run, "evaluation.composed")
turing = partial(_run, "evaluation.turing")
paper = partial(_run, "evaluation.paper.__main__")
train_ssnet = partial(_run, "evaluation.train_ssnet")
sweep = partial(_run, "launch.sweep.__main__")
benchmark = partial(_run, "launch.benchmark.__main__")
plan = partial(_run, "launch.plan.__main__")
local = partial(_run, "launch.local")
