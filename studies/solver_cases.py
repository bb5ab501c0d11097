"""The settings of sampling that are compared, and what each would cost."""

from dataclasses import dataclass
from typing import Any

EVALUATIONS = (5, 10, 20, 35, 50, 100, 250, 1000)
# What the others must equal: the paper's sampler with the paper's number of steps.
YARDSTICK = "euler_maruyama@1000"
# The chain of the VP SDE needs more steps than beta_max; with fewer nothing is sampled.
_FEWEST_CHAIN_STEPS = 35

_PC = {"sampling.method": "pc", "sampling.corrector": "none"}
SOLVERS: dict[str, dict[str, Any]] = {
    "euler_maruyama": _PC | {"sampling.predictor": "euler_maruyama"},
    "ancestral": _PC | {"sampling.predictor": "ancestral_sampling"},
    "ddim-time": {"sampling.method": "ddim", "sampling.grid": "time"},
    "ddim-edm": {"sampling.method": "ddim", "sampling.grid": "edm"},
    "heun-edm": {"sampling.method": "heun", "sampling.grid": "edm"},
    "heun-log_snr": {"sampling.method": "heun", "sampling.grid": "log_snr"},
    "dpm_solver-edm": {"sampling.method": "dpm_solver", "sampling.grid": "edm"},
    "dpm_solver-log_snr": {"sampling.method": "dpm_solver", "sampling.grid": "log_snr"},
    "dpm_solver_sde-edm": {"sampling.method": "dpm_solver_sde", "sampling.grid": "edm"},
    "dpm_solver_sde-log_snr": {"sampling.method": "dpm_solver_sde", "sampling.grid": "log_snr"},
}


@dataclass(frozen=True)
class Case:
    """One solver with so many network evaluations an image."""

    solver: str
    evaluations: int
    images: int

    @property
    def name(self) -> str:
        """What rows and folders call it."""
        return f"{self.solver}@{self.evaluations}"

    @property
    def overrides(self) -> dict[str, Any]:
        """The fields of the configuration that make it."""
        fields = SOLVERS[self.solver]
        if fields["sampling.method"] == "pc":
            return fields | {"model.num_scales": self.evaluations}
        return fields | {"sampling.num_steps": _steps(self)}


def cases(
    solvers: list[str], evaluations: list[int], *, images: int, images_above_100: int
) -> list[Case]:
    """Return the cases from the cheapest to the dearest, the yardstick among them.

    Raises:
        ValueError: for an unknown solver, or evaluations below 2.
    """
    unknown = sorted(set(solvers) - set(SOLVERS))
    if unknown:
        raise ValueError(f"unknown solvers {unknown}; choose from {', '.join(SOLVERS)}")
    if not evaluations or min(evaluations) < 2:
        raise ValueError(f"evaluations {evaluations}: give numbers of at least 2")

    def case(solver: str, count: int) -> Case:
        return Case(solver, count, images if count <= 100 else images_above_100)

    chosen = [case(solver, count) for count in evaluations for solver in solvers]
    chosen = [one for one in chosen if _is_sampled(one)]
    solver, _, count = YARDSTICK.partition("@")
    yardstick = case(solver, int(count))
    if yardstick not in chosen:
        chosen.append(yardstick)
    return sorted(chosen, key=lambda one: one.evaluations)


def _is_sampled(case: Case) -> bool:
    """Leave out what cannot run, and the fast solvers where they are not fast.

    Beyond 100 evaluations only the paper's sampler is of interest.
    """
    if case.solver == "ancestral":
        return case.evaluations >= _FEWEST_CHAIN_STEPS
    return case.evaluations <= 100 or case.solver == "euler_maruyama"


def _steps(case: Case) -> int:
    """Return the steps of a solver that make the evaluations, or one fewer."""
    if SOLVERS[case.solver]["sampling.method"] == "heun":
        return (case.evaluations + 1) // 2
    return case.evaluations
