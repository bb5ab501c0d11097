"""Packages that only some commands need, and what installs them."""

# By the name that is imported; the extras are those of setup.cfg.
EXTRAS = {
    "calzone": "sim",
    "xraydb": "sim",
    "jinja2": "evaluation",
    "ot": "evaluation",
    "ott": "evaluation",
    "sklearn": "evaluation",
    "threadpoolctl": "evaluation",
    "tensorboardX": "tensorboard",
    "torch": "torch",
    "uproot": "root",
    "awkward": "root",
}


def missing(error: ModuleNotFoundError) -> str:
    """Return what to install, for the import that failed."""
    name = (error.name or "").partition(".")[0]
    if name in ("sgm_jax", "evaluation", "launch", "configs"):
        return f"{error}: start the command in the folder of README.md, or install the package"
    if name in EXTRAS:
        extra = EXTRAS[name]
        return (
            f"{name} is not installed, which this needs: pip install -e '.[{extra}]' in the folder "
            f"of README.md, or pip install 'sgm_jax[{extra}]'"
        )
    return f"{error}: pip install -e . in the folder of README.md installs what is needed"
