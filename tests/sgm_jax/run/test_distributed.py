"""Who belongs together: found in the environment, or refused before anything waits."""

from pathlib import Path

import jax
import pytest

from sgm_jax.run import distributed
from sgm_jax.run.distributed import Group, find_group

OURS = {
    "JAX_COORDINATOR_ADDRESS": "10.0.0.1:8476",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}


@pytest.mark.parametrize(
    ("environ", "group"),
    [
        ({}, None),
        (OURS, Group("10.0.0.1:8476", 4, 3)),
        (OURS | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
        # Arguments of a job, in its batch script: one process that waits for nobody.
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8"}, Group()),
        ({"SLURM_STEP_NUM_TASKS": "1"}, None),
        (OURS | {"SLURM_STEP_NUM_TASKS": "8"}, Group("10.0.0.1:8476", 4, 3)),
        # A lone address is an option of JAX's own for the cluster it finds.
        ({"JAX_COORDINATOR_ADDRESS": "10.0.0.1:8476"}, None),
        ({"JAX_PLATFORMS": "cpu"}, None),
    ],
)
def test_the_environment_says_who_belongs_together(environ, group):
    assert find_group(environ) == group


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"JAX_NUM_PROCESSES": "2"}, "None, '2', None; set all of them"),
        (OURS | {"JAX_PROCESS_ID": "one"}, "'one'; set all of them"),
        (OURS | {"JAX_PROCESS_ID": "4"}, "4 processes, this one the number 4"),
        (OURS | {"JAX_COORDINATOR_ADDRESS": "10.0.0.1"}, "'10.0.0.1'.*needed are host:port"),
    ],
)
def test_an_environment_that_contradicts_itself_is_refused(environ, message):
    with pytest.raises(ValueError, match=message):
        find_group(environ)


def test_incomplete_arguments_are_refused():
    with pytest.raises(ValueError, match="the arguments give the coordinator 'host:1', None"):
        distributed.initialize("host:1", process_id=0)


@pytest.mark.parametrize("name", ["JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS"])
def test_the_work_of_one_process_is_refused_to_several(monkeypatch, name):
    for other in ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(other, raising=False)
    distributed.refuse_several("--mode=simulate", "start it once")
    monkeypatch.setenv(name, "3")
    with pytest.raises(ValueError, match="of one process, and there are 3; start it once"):
        distributed.refuse_several("--mode=simulate", "start it once")


def test_one_process_decides_for_itself(tmp_path):
    (tmp_path / "there").touch()
    assert distributed.existing([tmp_path / "there", tmp_path / "not"]) == [True, False]
    assert distributed.decided(lambda: True) and not distributed.decided(lambda: False)
    with pytest.raises(FileNotFoundError, match="not"):
        distributed.decided((tmp_path / "not").read_text)


def test_one_process_is_alone_and_its_folders_are_its_own(monkeypatch, tmp_path):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    distributed.initialize()
    assert not jax.distributed.is_initialized()
    distributed.check_shared(tmp_path / "run")
    distributed.finish()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["gs://bucket/run", "s3://bucket/run"])
def test_the_address_of_a_bucket_is_refused_with_the_fix(name):
    with pytest.raises(ValueError, match=r"is (gs|s3):/bucket/run, an address.*mount the bucket"):
        distributed.check_shared(Path(name))
