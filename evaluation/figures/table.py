"""The table of figures.

To add a figure, write a function that returns a Matplotlib figure and the numbers behind it, and
list it in ``figures`` of one of the modules below.
"""

from evaluation.figures import classifier, distributions, images, layers, maps, neighbours, summary
from evaluation.figures.figure import Comparison, Figures

# In the order of a report.
_FAMILIES = (summary, distributions, layers, images, neighbours, maps, classifier)


def figures(comparison: Comparison) -> Figures:
    """Return what draws each figure of a comparison, by its name.

    Figures of the sets themselves are always there, others only if their metrics were computed.
    """
    return {name: draw for family in _FAMILIES for name, draw in family.figures(comparison).items()}
