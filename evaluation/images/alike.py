"""Whether sets of images are on one scale and cut alike; if not, the generator is not to blame.

What is found is said in the report, not refused: a bad generator may draw such images as well.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from evaluation.images.sets import FAINT, Opened, brightness

AUTO = "auto"
_SURE = 10  # faint pixels that a set should have had, if it is said to be cut
_FEWER = 0.25  # times as many up to 4 as from there to 8: charge spectra do not fall so fast
_BRIGHTER = 3.0  # times: the brightest pixels are on another scale, or the generator is very bad
_PEAKS = 2.0  # times, of the brightest pixel of an image
_MANY = 0.05  # of the lit pixels are saturated; scaling by quantile saturates 0.01
_SOME = 0.01  # of the lit pixels would be 0 as whole numbers

_AROUND = ("lit_pixels_up_to_4", "lit_pixels_5_to_8")

Facts = Mapping[str, Any]


def parse_threshold(text: str) -> int | str:
    """Read a threshold: "auto" or a whole number from 0 to 254.

    Raises:
        ValueError: anything else.
    """
    if text == AUTO:
        return AUTO
    if not (text.isdecimal() and int(text) < 255):
        raise ValueError(f"--threshold={text}: write {AUTO} or a whole number from 0 to 254")
    return int(text)


def common_threshold(real: Opened, others: Iterable[Opened]) -> tuple[int, str]:
    """Return where to cut all sets so that they are alike, and a sentence that says so.

    ``--mode=sample`` sets pixels up to 4 to zero, as arXiv:2307.13687 does. If another set was cut
    so and the real one was not, all are cut there. Otherwise none is: if the real images alone
    have no faint pixels, those of the others may be the generator's flaw.
    """
    facts = {member.name: brightness(member.images) for member in (real, *others)}
    cut = [name for name in facts if name != real.name and _is_cut(facts[name], facts[real.name])]
    if not cut:
        return 0, ""
    return FAINT, (
        f"Pixels up to {FAINT} of 255 were set to 0 in all sets, as --mode=sample does in what it "
        f"draws. So faint were, of the lit pixels, {_faint(facts)}. --threshold=0 compares the "
        "sets as they are."
    )


def differences(sets: Mapping[str, Facts], real: str) -> list[str]:
    """Return what says that sets are on different scales, cut or clipped.

    Args:
        sets: the facts of each set by its name; see `evaluation.images.sets`.
        real: name of the set that the others are compared with.
    """
    texts = []
    for name, facts in sets.items():
        if facts["lit_pixels"] == 0:
            texts.append(f"{name}: all {facts['images_used']} images are empty.")
            continue
        if facts["saturated_lit_pixels"] > _MANY and not facts["surveyed"]:
            texts.append(
                f"{name}: {100 * facts['saturated_lit_pixels']:.0f} % of the lit pixels are at "
                "255, the largest value: above it charge was lost. Give what was stored before, "
                "with --scaling=quantile or --scaling=fixed:FULL."
            )
        if name != real and sets[real]["lit_pixels"]:
            texts += _beside(name, facts, real, sets[real])
    cut = [name for name, facts in sets.items() for other in sets.values() if _is_cut(facts, other)]
    if cut:
        texts.append(
            f"The lit pixels up to {FAINT} of 255 are {_faint(sets)}: they were cut off in "
            f"{', '.join(dict.fromkeys(cut))}. --threshold={FAINT} treats all sets alike."
        )
    rounded = {name: facts["lit_pixels_up_to_half"] for name, facts in sets.items()}
    if max(rounded.values()) > _SOME and min(rounded.values()) == 0:
        names = ", ".join(f"{name} {100 * share:.0f} %" for name, share in rounded.items() if share)
        texts.append(
            f"Of the lit pixels some are below 0.5 ({names}), which whole numbers store as 0: "
            f"numbers of lit pixels differ for it. --threshold={FAINT} treats all sets alike."
        )
    return texts


def _beside(name: str, facts: Facts, real: str, of_real: Facts) -> list[str]:
    """Say if a set is on another scale than the real one."""
    flag = "--scaling" if name == "train" else "--generated_scaling"
    fix = (
        f"If they are in another unit, such as MeV or ADC counts, give {flag}=per_image, quantile "
        "or fixed:FULL, as in training."
    )
    for key, most, what in (
        ("bright_lit_pixel", _BRIGHTER, "1 % of the lit pixels are brighter than"),
        ("median_peak", _PEAKS, "half of the images have their largest pixel above"),
    ):
        value, expected = facts[key], of_real[key]
        if not 1 / most <= value / expected <= most:
            return [
                f"{name} and {real} are not on one scale: {what} {value:.4g} of 255 in {name}, "
                f"{expected:.4g} in {real}. {fix}"
            ]
    return []


def _is_cut(facts: Facts, other: Facts) -> bool:
    """Return whether faint pixels were cut off in a set, but not in the ``other``."""
    below, above = (facts[key] * facts["lit_pixels"] for key in _AROUND)
    other_below, other_above = (other[key] for key in _AROUND)
    expected = other_below * facts["lit_pixels"]
    if other_below < 2 * _FEWER * other_above or expected < _SURE:
        return False
    return below == 0 or (above > _SURE and below < _FEWER * above)


def _faint(sets: Mapping[str, Facts]) -> str:
    return ", ".join(f"{100 * f['lit_pixels_up_to_4']:.1f} % in {name}" for name, f in sets.items())
