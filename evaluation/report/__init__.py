"""Reports: reading report.json, and the templates of this folder. Does not import JAX."""

import json
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1


def read(path: Path) -> dict[str, Any]:
    """Read a report.json.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged, none of ours or of another schema.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no report {path}; give the report.json of python -m evaluation")
    try:
        report = json.loads(Path(path).read_text())
        version = report["schema_version"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no report of python -m evaluation ({error})") from error
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}: "
            "make the report again"
        )
    return report


def render(template: str, values: dict[str, Any], **filters: Any) -> str:
    """Fill a template of this folder, which may call ``filters``; HTML is escaped."""
    # Of an extra: a command that lacks it says so when it starts to work.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evaluation", "report"),
        autoescape=template.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters
    return environment.get_template(template).render(values)
