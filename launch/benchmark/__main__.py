"""Measure what training, sampling, simulating and starting cost on this machine.

    python -m launch.benchmark                       # every line
    python -m launch.benchmark --only=tiny_training,import
    python -m launch.benchmark --only=w1,sinkhorn    # metrics, beside other libraries
    python -m launch.benchmark --only=sampler_heun   # cost beyond its network evaluations

The work is that of users: the train step, the sampler and the command line themselves. Seconds are
processor time of all threads, which other programs on the machine disturb less than wall time.
"""

from absl import flags

from sgm_jax.run.command import run_app


def define_flags() -> None:
    """Define the settings of the command line."""
    flags.DEFINE_list("only", [], "Names of the lines to measure. Default: all.")
    flags.DEFINE_integer("repeats", 5, "Runs of each line, after one that is not counted.")
    flags.DEFINE_bool("debug", False, "Show where in the code an error was raised.")


def _run() -> None:
    # What is measured needs JAX and the extras of the evaluation; --help does not.
    from launch.benchmark.lines import measure

    measure(flags.FLAGS.only, flags.FLAGS.repeats)


if __name__ == "__main__":
    define_flags()
    run_app(_run)
