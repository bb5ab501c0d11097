import numpy as np
import pytest

from launch import neighbour_lines
from tests.evaluation.drawn_images import drawn_images


def test_a_search_is_measured_with_what_it_solved():
    images = drawn_images(40, seed=0, size=16)
    found = neighbour_lines.measure(images, images[:10], count=3)
    assert found.images == 40 and found.index_mb == pytest.approx(40 * 4 * (2 * 16 + 2 * 31) / 1e6)
    assert len(found.searches) == 3 and found.median_seconds > 0.0
    for search in found.searches:
        assert search.distances_px[0] == 0.0 and 5 <= search.solves <= 40
    lines = neighbour_lines.table(found).splitlines()
    assert lines[0].startswith("40 images: index") and len(lines) == 6
    assert "0.00" in lines[-1].split()


def test_the_command_reads_its_images(tmp_path, capsys):
    np.save(tmp_path / "images.npy", drawn_images(12, seed=1, size=16))
    np.save(tmp_path / "dark.npy", np.zeros((12, 16, 16), np.uint8))
    images = f"--images={tmp_path}/images.npy"
    neighbour_lines.main([images, f"--queries={tmp_path}/images.npy", "--count=2"])
    assert "median of 2 searches" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        neighbour_lines.main([images, f"--queries={tmp_path}/dark.npy"])
    assert "0 queries with charge for 9 searches" in capsys.readouterr().err
