import numpy as np
import pytest

from evaluation.metrics.observables import OBSERVABLES
from evaluation.metrics.physics import chi2_paper, chi2_two_sample, paper_histogram
from tests.fixture_files import fixture_files

_FIXTURE_NAMES = {"length": "track_length_px", "width": "track_width_px", "charge": "charge"}


def test_the_published_bins():
    edges = [OBSERVABLES[name].edges for name in _FIXTURE_NAMES.values()]
    assert [len(one) - 1 for one in edges] == [47, 30, 47]
    assert [one[-1] for one in edges] == [92.0, 29.0, 36_800.0]


def test_values_outside_count_in_the_outermost_bins():
    counts = paper_histogram(np.array([-50.0, 0.0, 29.0, 1e9]), OBSERVABLES["track_width_px"].edges)
    assert counts.sum() == 4 and counts[0] == 1 and counts[1] == 1 and counts[-1] == 2
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        paper_histogram(np.array([1.0, np.nan]), OBSERVABLES["track_width_px"].edges)


@pytest.mark.parity
@pytest.mark.parametrize("name", _FIXTURE_NAMES)
@pytest.mark.parametrize("path", fixture_files("chi2.npz"), ids=str)
def test_histograms_agree_with_the_published_definition(path, name):
    arrays = np.load(path)
    edges = OBSERVABLES[_FIXTURE_NAMES[name]].edges
    np.testing.assert_array_equal(edges, arrays[f"{name}_bins"])
    base, other = (paper_histogram(arrays[f"{name}_{part}"], edges) for part in ("base", "comp"))
    np.testing.assert_array_equal(base, arrays[f"{name}_base_counts"])
    np.testing.assert_array_equal(other, arrays[f"{name}_comp_counts"])
    assert chi2_paper(base, other) == pytest.approx(float(arrays[f"{name}_chi2_paper"]))
    proper = chi2_two_sample(base, other)
    assert proper.chi2 == pytest.approx(float(arrays[f"{name}_chi2_two_sample"]))
    assert proper.degrees_of_freedom == arrays[f"{name}_bins_used_two_sample"] - 1


def test_proportional_histograms_have_chi2_zero_and_p_one():
    a = np.array([3, 0, 7, 10])
    assert chi2_paper(a, 5 * a) == 0.0
    assert chi2_two_sample(a, 5 * a).chi2 == pytest.approx(0.0, abs=1e-12)
    assert chi2_two_sample(a, 5 * a).p == pytest.approx(1.0)


def test_published_form_by_hand():
    # 10 real, 20 generated scaled to 10: (4 - 5)^2 / 5 twice; the third bin is empty and left out.
    assert chi2_paper(np.array([5, 5, 0]), np.array([8, 8, 4])) == pytest.approx(0.4)


def test_equal_samples_have_uniform_p_and_the_stated_mean_of_the_published_form():
    rng = np.random.default_rng(0)
    draws = [tuple(rng.multinomial(n, [0.05] * 20) for n in (2000, 8000)) for _ in range(400)]
    p = np.sort([chi2_two_sample(*pair).p for pair in draws])
    assert np.abs(p - (np.arange(400) + 0.5) / 400).max() < 1.63 / np.sqrt(400)  # KS at 1 %
    mean = np.mean([chi2_paper(*pair) for pair in draws])
    assert mean == pytest.approx(19 * (1 + 2000 / 8000), rel=0.05)


def test_histograms_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) bins with 3 entries and \(3,\) bins"):
        chi2_paper(np.array([1, 2]), np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="0 entries"):
        chi2_two_sample(np.array([0, 0]), np.array([1, 2]))
