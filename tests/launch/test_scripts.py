"""Launch scripts: what they would run, without running it, and that a shell can read them."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
POD = LAUNCH / "tpu_pod.sh"


def dry_run(*arguments):
    """Return the commands that the pod script prints, each as its words."""
    named = ["--name=sgm", "--zone=us-west4-a", "--type=v5litepod-32"]
    command = ["bash", str(POD), "--dry_run", *named, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert all(line.startswith("+ ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def on_hosts(command):
    return next(word.removeprefix("--command=") for word in command if "--command=" in word)


@pytest.mark.parametrize("script", ["tpu_pod.sh", "slurm.sh"])
def test_a_shell_can_read_the_script(script):
    subprocess.run(["bash", "-n", str(LAUNCH / script)], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", ["tpu_pod.sh", "slurm.sh"])
def test_shellcheck_finds_nothing_in_the_script(script):
    subprocess.run(["shellcheck", str(LAUNCH / script)], check=True)


def test_run_creates_installs_starts_and_follows_the_log():
    commands = dry_run("run", "--", "--config=configs/larcv_png64.py")
    verbs = [words[4] for words in commands if words[0] == "gcloud"]
    assert verbs == ["describe", "create", "scp", "ssh", "ssh", "ssh"]
    assert all("--zone=us-west4-a" in words for words in commands if words[0] == "gcloud")
    create, install, start, log = (commands[i] for i in (1, 4, 5, 6))
    assert {"--accelerator-type=v5litepod-32", "--version=v2-alpha-tpuv5-lite"} <= set(create)
    assert "--spot" not in create
    assert "--worker=all" in install and ".[tpu]" in on_hosts(install)
    assert "--worker=all" in start
    assert "-m sgm_jax.main --config=configs/larcv_png64.py" in on_hosts(start).replace("'", "")
    assert "--worker=0" in log and "run.log" in on_hosts(log)


def test_every_command_for_the_hosts_is_one_that_a_shell_can_read():
    for words in dry_run("--bucket=my bucket", "run", "stop", "down", "--", "--workdir=a b; c"):
        if "ssh" in words:
            subprocess.run(["bash", "-n", "-c", on_hosts(words)], check=True)


def test_arguments_reach_the_program_as_they_were_written():
    (start,) = dry_run("start", "--", "--workdir=bucket/a b", "--config.x=$HOME")
    assert "'--workdir=bucket/a b' '--config.x=$HOME'" in on_hosts(start)


def test_a_bucket_is_mounted_on_all_hosts_and_a_spot_slice_asked_for():
    commands = dry_run("--bucket=images", "--spot", "up", "install")
    assert "--spot" in commands[1]
    assert "gcsfuse" in on_hosts(commands[-1]) and "'images' bucket" in on_hosts(commands[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--zone=z", "run"], "no --name"),
        (["--name=n", "run"], "no --zone"),
        (["--name=n", "--zone=z"], "nothing to do"),
        (["--name=n", "--zone=z", "up"], "no --type"),
        (["--name=n", "--zone=z", "--type=v9-8", "up"], "image is known for --type=v9-8"),
        (["--name=n", "--zone=z", "start"], "no arguments"),
        (["--name=n", "--zone=z", "fly"], "unknown argument fly"),
    ],
)
def test_what_is_missing_is_said_with_the_fix(arguments, message):
    command = ["bash", str(POD), "--dry_run", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and message in run.stderr


def test_help_is_the_head_of_the_script():
    run = subprocess.run(["bash", str(POD), "--help"], capture_output=True, text=True, check=True)
    assert "Actions" in run.stdout and "--dry_run" in run.stdout and "set -" not in run.stdout
