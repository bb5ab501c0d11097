#!/usr/bin/env bash
# Train or sample on GPUs of several nodes, one process per GPU.
#
#   sbatch --nodes=2 --gpus-per-node=4 --ntasks-per-node=4 --time=12:00:00 launch/slurm.sh \
#       --config=configs/larcv_png64.py --workdir=/shared/runs/larcv_png64
#
# Arguments are those of python -m sgm_jax.main. The workdir and the images must lie on storage that
# all nodes share. Two minutes before the time is over, and when the job is preempted, the run saves
# its state and ends with status 143; the job then goes back into the queue and continues from there.
# Environment: PYTHON, the interpreter (default: .venv/bin/python of the folder that sbatch was
# called in), or "apptainer exec --nv sgm_jax.sif python".
#
#SBATCH --job-name=sgm_jax
#SBATCH --nodes=1
#SBATCH --gpus-per-node=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sgm_jax_%j.log
set -uo pipefail

cd "${SLURM_SUBMIT_DIR:?start it with sbatch}" || exit
read -r -a python <<<"${PYTHON:-.venv/bin/python}"
export PYTHONUNBUFFERED=1
# srun does not inherit --cpus-per-task from sbatch.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"

# Processes find each other through variables of the job step. If one dies, the others are ended.
srun --kill-on-bad-exit=1 --label "${python[@]}" -m sgm_jax.main "$@"
status=$?

# A cancelled job ends this script too, and is not queued again.
if [ "$status" -eq 143 ]; then
    echo "stopped with its state saved; back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
