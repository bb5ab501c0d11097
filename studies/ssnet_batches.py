"""Measure how much the order of images moves labels and FID when batches are normalised together.

    python -m studies.ssnet_batches --images=data/lar64/test/larcv_png_64 [--ssnet=FILE,...] \\
        --out=docs/ssnet

The published SSNet normalises an image with the 15 others of its batch (``batch_statistics``). Each
network is applied so, at several orders of the same images; weights of ours (``.npz``) also with
their running statistics, which must not depend on the order. Default: the package's weights.
Published weights (PyTorch files) need the extra ``torch``.
"""

from pathlib import Path

import numpy as np
from absl import app, flags

from sgm_jax.run.command import run, start_jax
from sgm_jax.run.log import LOGGER


def define_flags() -> None:
    """Define the settings of the command line."""
    flags.DEFINE_string("images", None, "PNG folder, .npy, .npz or HDF5 file")
    flags.DEFINE_list("ssnet", [], "weight files; default: the package's")
    flags.DEFINE_integer("num_images", 2000, "images; as many others make the floor")
    flags.DEFINE_integer("shuffles", 5, "orders of the same images")
    flags.DEFINE_integer("seed", 0, "of the choice of images and of the orders")
    flags.DEFINE_string("out", "docs/ssnet", "folder of the report")
    flags.DEFINE_bool("debug", False, "show where in the code an error was raised")
    flags.mark_flags_as_required(["images"])


def main(argv: list[str]) -> None:
    """Measure with the settings of the command line."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments {argv[1:]}: every setting is a --flag")
    run(_run, debug=flags.FLAGS.debug)


def render(results: list[dict], *, source: str, orders: int) -> str:
    """Return the report, from the numbers of ``studies.ssnet_batch_order.measure``, as mappings."""
    names = [f"{row['name']}, {row['normalisation'].replace('_', ' ')}" for row in results]
    columns = [_column(row) for row in results]
    head = ["", *names]
    lines = [head, ["---"] * len(head)]
    lines += [[key, *(column[key] for column in columns)] for key in columns[0]]
    grid = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"""# Batch order

Written by `python -m studies.ssnet_batches` (numbers in `batch_order.json`): {orders} orders of the
same {results[0]["images"]} images of `{source}`, in batches of 16 along each order, the
published number; with running statistics two orders.

{grid}

- Shares are per cent; brackets hold the smallest and the largest value. *Sampling error* is the
  binomial one of the track share for so many images.
- *All pixels* is the paper's rule for an image's label, *lit pixels* the same votes among pixels
  with charge.
- The floor is the FID between the images, in each order, and as many other images of the same set,
  in one order; ± is the spread over orders.
- *Grouped*: all images that the first order calls tracks are batched before all others, so that
  every batch but one is of one kind; compared with the first order.
"""


def _column(row: dict) -> dict[str, str]:
    grouped = row["grouped"]
    cells = {"lit pixels": str(row["lit_pixels"])}
    for rule, changed in row["changed_images"].items():
        share = np.array(row["track_share"][rule])
        chance = 100 * np.sqrt(share[0] * (1 - share[0]) / row["images"])
        cells |= {
            f"images of other label in two orders, {rule}": _percent(changed),
            f"images not the same in all orders, {rule}": _percent([row["changed_in_any"][rule]]),
            f"track share, {rule}": _percent(row["track_share"][rule]),
            f"its spread over orders / sampling error, {rule}": f"{100 * share.std(ddof=1):.2f} / "
            f"{chance:.2f}",
            f"grouped: images of other label, {rule}": _percent(
                [grouped[f"changed_images, {rule}"]]
            ),
            f"grouped: track share, {rule}": _percent([grouped[f"track_share, {rule}"]]),
        }
    floor = np.array(row["fid_floor"])
    return cells | {
        "lit pixels of other label in two orders": _percent(row["changed_pixels"]),
        "grouped: lit pixels of other label": _percent([grouped["changed_pixels"]]),
        "FID, same images in two orders": _spread(row["fid_orders"], floor.mean()),
        "FID, grouped and not": _spread([grouped["fid"]], floor.mean()),
        "FID, different images (floor)": f"{floor.mean():.3g} ± {floor.std(ddof=1):.2g}",
    }


def _percent(shares: list[float]) -> str:
    values = 100 * np.array(shares)
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})"


def _spread(values: list[float], floor: float) -> str:
    # Rounding leaves up to 1e-4 of the floor, of either sign, of what is zero.
    shown = [0.0 if abs(value) < 1e-4 * floor else value for value in values]
    mean = f"{np.mean(shown):.3g}"
    return mean if len(shown) == 1 else f"{mean} ({min(shown):.3g} to {max(shown):.3g})"


def _run() -> None:
    # These import JAX; --help has answered before.
    from evaluation.ssnet.weights import open_weights
    from sgm_jax.data import open_images
    from sgm_jax.run.workdir import write_json
    from studies.ssnet_batch_order import measure, modes, split

    start_jax()
    given = flags.FLAGS
    if given.shuffles < 2:
        raise ValueError(f"--shuffles={given.shuffles}: two orders, at least, can differ")
    opened = open_images(given.images, num_channels=1, image_size=None)
    images, others = split(opened, given.num_images, seed=given.seed)
    results = []
    for path in map(Path, given.ssnet or [""]):
        weights = open_weights(path if path.name else None)
        for mode in modes(weights):
            LOGGER.info("%s, %s", path.name or "packaged", mode.net.normalisation)
            # Two orders show that running statistics do not depend on them.
            running = mode.net.normalisation == "running_statistics"
            found = measure(
                path.name or "packaged",
                images,
                others,
                mode,
                shuffles=2 if running else given.shuffles,
                seed=given.seed,
            )
            results.append(found._asdict())
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    source = Path(given.images).name
    write_json(out / "batch_order.json", {"source": source, "networks": results})
    text = render(results, source=source, orders=given.shuffles)
    (out / "batch_order.md").write_text(text)
    LOGGER.info("wrote %s/batch_order.md", out)


if __name__ == "__main__":
    define_flags()
    app.run(main)
