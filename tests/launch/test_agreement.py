"""Two processes that see different things on their disks do the same, or refuse together."""

import sys
from pathlib import Path

import numpy as np
import pytest

from launch import local
from sgm_jax.run.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
SEEN = """
import os, sys
from pathlib import Path
from sgm_jax.run.command import run_command
def work():
    from sgm_jax.run import distributed
    distributed.initialize()
    import numpy as np
    from sgm_jax.run import checkpoints, parallel, restore, workdir
    from sgm_jax.run.lock import locked
    from sgm_jax.run.parts import open_parts
    me = int(os.environ["JAX_PROCESS_ID"])
    folder = Path(sys.argv[1]) / str(me)
    print("steps", checkpoints.steps(folder), flush=True)
    print("newest", restore.newest_step(folder))
    print("existing", distributed.existing([folder / "0", folder / "1"]))
    print("decided", distributed.decided(lambda: me == 0))
    like = {"w": np.zeros(3000, np.float32)}
    store = checkpoints.Checkpoints(folder, keep_every=100)
    print("restored", int(store.restore_newest(like)["w"][0]))
    store.close()
    try:
        checkpoints.load(folder, 1 if me == 0 else 9, like)
    except (ValueError, FileNotFoundError) as error:
        print("load", error)
    # The parts are in a folder that both see; process 0 writes them.
    shared = Path(sys.argv[1]) / "parts"
    with open_parts(shared, {"seed": 1}, fix="") as parts:
        parts.save("a.npy", np.zeros(2))
        parallel.wait_for_all()
        print("missing", parts.missing(["a.npy", "b.npy"]))
        parallel.wait_for_all()
    try:
        with open_parts(shared, {"seed": 2}, fix=""):
            print("opened")
    except ValueError as error:
        print("refused", error)
    if me == 0:
        held = locked(folder, fix="")
        held.__enter__()
    try:
        with workdir.claimed(folder, None, ""):
            print("claimed")
    except ValueError as error:
        print("claim", error)
run_command(work, debug=True)
"""


def said(out, word):
    """Return what the two processes say after a word."""
    lines = [line for line in out.splitlines() if f"] {word} " in line]
    return [
        next(line for line in lines if line.startswith(f"[{i}]")).split(word)[1] for i in (0, 1)
    ]


@pytest.mark.slow
def test_two_processes_that_see_different_files_agree(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for process, steps in enumerate([(1, 2, 3), (1, 2, 3, 4)]):
        store = Checkpoints(tmp_path / str(process), keep_every=1)
        for step in steps:
            store.save(step, {"w": np.full(3000, step, np.float32)})
        store.close()
        (tmp_path / str(process) / str(process)).touch()
    # Sound to one and damaged to the other is damaged.
    (tmp_path / "1/checkpoints/3/default/manifest.ocdbt").unlink()
    command = [sys.executable, "-c", SEEN, str(tmp_path)]
    assert local.launch(command, processes=2, devices=1) == 0
    out = capfd.readouterr().out
    assert said(out, "steps") == [" [1, 2, 3]", " [1, 2, 3, 4]"]
    for word, answer in (
        ("newest", " 3"),
        ("existing", " [True, False]"),
        ("decided", " True"),
        ("restored", " 2"),
        ("missing", " ['b.npy']"),
    ):
        assert said(out, word) == [answer, answer]
    one, other = said(out, "load")
    assert "cannot be read by process 2" in one and "no checkpoint of step 9" in other
    one, other = said(out, "refused")
    assert "seed: 1 there, 2 here" in one and "process 1 has" in other
    one, other = said(out, "claim")
    assert "in use by another run" in one and "process 1 has refused" in other


@pytest.mark.slow
@pytest.mark.parametrize("module", ["evaluation.label", "evaluation"])
def test_evaluation_is_refused_to_several_processes(tmp_path, monkeypatch, capfd, module):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    sets = {
        "evaluation": ("--real=a.npy", "--generated=b.npy"),
        "evaluation.label": ("--images=a.npy",),
    }[module]
    command = [sys.executable, "-m", module, *sets, f"--out={tmp_path}/out"]
    assert local.launch(command, processes=2, devices=1) == 1
    out = capfd.readouterr().out
    assert f"python -m {module} is the work of one process, and there are 2" in out
    assert not list(tmp_path.iterdir())
