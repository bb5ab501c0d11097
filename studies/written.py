"""What a study leaves: its numbers, and a page that people read."""

from pathlib import Path
from typing import Any

from sgm_jax.run.log import LOGGER


def write_study(out: Path, name: str, content: dict[str, Any], page: str) -> None:
    """Write ``<name>.json`` and ``<name>.md`` into the folder ``out``."""
    # Imported here because it imports jax, which reads the environment that a command sets.
    from sgm_jax.run.workdir import write_json

    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", content)
    (out / f"{name}.md").write_text(page)
    LOGGER.info("look at %s", out / f"{name}.md")
