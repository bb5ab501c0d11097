"""The tour, a notebook: executed in a folder, and stored with what it shows.

python -m tests.tour        # execute docs/tour.ipynb and store its outputs
"""

import os
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
TOUR = ROOT / "docs" / "tour.ipynb"
# Of the outputs: places on a machine. A fraction such as 3/4 is none.
MACHINE_PATH = re.compile(r"(?<![\w.:/<])(?:/[\w.-]+){2,}|[A-Z]:\\")


def execute(folder: Path) -> nbformat.NotebookNode:
    """Return the tour with the outputs of a run in ``folder``.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    notebook = nbformat.read(TOUR, as_version=4)
    # No bars, for they say how long it took; one device, and the figures of a notebook.
    left_out = ("XLA_FLAGS", "MPLBACKEND")
    environment = {name: text for name, text in os.environ.items() if name not in left_out}
    environment |= {"TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}
    client = NotebookClient(
        notebook,
        timeout=1200,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    # Nothing that is different on another machine.
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.clear()
    return notebook


def main() -> None:
    """Execute the tour and store it."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = execute(Path(folder))
    nbformat.write(notebook, TOUR)


if __name__ == "__main__":
    main()
