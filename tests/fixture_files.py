"""Where the arrays of the original code lie: ``$SGM_JAX_FIXTURES``, or the small copies here."""

import os
from pathlib import Path

FIXTURES = Path(os.environ.get("SGM_JAX_FIXTURES") or Path(__file__).parent / "fixtures")


def fixture_files(pattern: str) -> list[Path]:
    """Return the files that match, anywhere below the fixture folder, in order of their name."""
    return sorted(FIXTURES.rglob(pattern))
