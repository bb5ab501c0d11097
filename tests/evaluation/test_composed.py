"""The comparison of composed events with simulated ones."""

import json

import numpy as np

from evaluation.composed import main, vertex_activity


def test_the_vertex_activity_is_the_charge_around_the_middle():
    images = np.zeros((2, 20, 30), np.uint8)
    images[0, 10, 15], images[0, 10, 20], images[0, 14, 18], images[0, 14, 19] = 200, 100, 50, 7
    np.testing.assert_array_equal(vertex_activity(images), [350, 0])
    np.testing.assert_array_equal(vertex_activity(images, radius_px=0), [200, 0])


def test_events_with_another_vertex_stand_out_and_others_do_not(tmp_path):
    rng = np.random.default_rng(0)
    sets = np.where(rng.random((4, 60, 32, 32)) < 0.1, rng.integers(20, 200, (4, 60, 32, 32)), 0)
    sets[3, :, 14:19, 14:19] = 255
    for name, images in zip(("real", "train", "good", "bad"), sets, strict=True):
        np.save(tmp_path / f"{name}.npy", images.astype(np.uint8))
    found = {}
    for name in ("good", "bad"):
        main(
            [
                *(f"--{role}={tmp_path}/{role}.npy" for role in ("real", "train")),
                f"--generated={tmp_path}/{name}.npy",
                f"--out={tmp_path}/report_{name}",
                "--metrics=physics/charge,physics/clusters",
                "--nossnet",
                "--nofigures",
            ]
        )
        report = json.loads((tmp_path / f"report_{name}" / "report.json").read_text())
        found[name] = {row["metric"]: row for row in report["rows"]}
    good, bad = (found[name]["vertex/activity/w1"] for name in ("good", "bad"))
    assert good["p"] > 0.01 and bad["p"] < 0.01
    assert bad["value"] - 3 * bad["stderr"] > 3000 > good["value"] and good["floor"] < 3000
    assert "physics/all/clusters/ks" in found["good"]
