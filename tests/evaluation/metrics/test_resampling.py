import numpy as np
import pytest

from evaluation.metrics import resampling


def test_batches_are_disjoint_and_without_replacement():
    real, generated = np.arange(50)[:, None], np.arange(100, 170)[:, None]
    batches = resampling.equal_batches(real, generated, 12, seed=0)
    assert len(batches) == 4
    for side, rows in enumerate((real, generated)):
        drawn = np.concatenate([pair[side] for pair in batches]).ravel()
        assert len(set(drawn)) == 48 and set(drawn) <= set(rows.ravel())


def test_a_seed_fixes_the_batches():
    rows = np.arange(40)[:, None]
    first, again, other = (resampling.equal_batches(rows, rows, 20, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_too_few_images_for_the_batches_are_refused_with_the_numbers():
    rows = np.zeros((30, 2))
    with pytest.raises(ValueError, match="4 batches of 10 images need 40, got 30 real and 30"):
        resampling.equal_batches(rows, rows, 10, count=4, seed=0)


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), r"\(5, 3\) and generated \(5, 4\)"),
        (np.zeros(5), np.zeros(5), "sets of equal things"),
        (np.zeros((5, 3)), np.zeros((1, 3)), "1 generated images, but .* at least 2"),
        (np.zeros((5, 3)), np.array([[0, 0, np.nan], [0, 0, 0]]), "1 of 2 generated .* NaN"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(real, generated, message):
    with pytest.raises(ValueError, match=message):
        resampling.as_rows(real, generated)


def test_images_become_rows():
    real, generated = resampling.as_rows(np.zeros((3, 4, 5)), np.zeros((2, 4, 5)))
    assert real.shape == (3, 20) and generated.shape == (2, 20)


def test_a_reduced_size_says_so():
    assert resampling.reduced_size(100, 200, 150) == (100, "")
    size, note = resampling.reduced_size(100, 80, 150)
    assert size == 80 and note == "reduced from 100 images to 80: fewer were given"


def test_the_error_of_a_mean_difference_is_the_known_one():
    rng = np.random.default_rng(0)
    errors = [
        resampling.parts_stderr(
            lambda x, y: float(x.mean() - y.mean()),
            rng.normal(size=(400, 1)),
            rng.normal(size=(400, 1)),
            seed=0,
        )
        for _ in range(60)
    ]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.sqrt(2 / 400), rel=0.08)


def test_small_sets_have_no_error_from_parts():
    rows = np.zeros((99, 1))
    assert resampling.parts_stderr(lambda x, y: 0.0, rows, rows, seed=0) is None


def test_p_counts_the_observed_labelling():
    assert resampling.permutation_p(2.0, np.array([1.0, 2.0, 3.0])) == 0.75
    assert resampling.permutation_p(9.0, np.zeros(99)) == 0.01


def test_shuffled_labels_keep_the_size_of_the_first_sample():
    labels = resampling.shuffled_labels(3, 5, 200, seed=0)
    assert (labels.sum(axis=0) == 3).all() and labels[:3, 0].all()
    np.testing.assert_allclose(labels[:, 1:].mean(axis=1), 3 / 8, atol=0.12)
