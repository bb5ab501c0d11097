"""Every figure and table of arXiv:2307.13687, from the checkpoints of a run."""
