#!/usr/bin/env bash
# Train or sample on a Cloud TPU slice: one command from nothing to the log of a run.
#
#   launch/tpu_pod.sh --name=NAME --zone=ZONE --type=v5litepod-32 [OPTIONS] ACTION... \
#       [-- ARGUMENTS OF sgm_jax.main]
#
# Actions, done in the order given:
#   up       create the slice, or reuse it if it is there
#   install  copy this commit to all its hosts and install it there
#   start    start python -m sgm_jax.main on all hosts
#   log      follow the log of the first host until the run ends
#   stop     ask the run to save its state and leave, and wait for that
#   down     delete the slice; until then it costs money
#   run      up install start log
#
# Options:
#   --version=V   up: version of the machine image; default: the one for the type
#   --bucket=B    install: mount the Cloud Storage bucket B as the folder bucket on every host. All
#                 hosts must see the workdir and the images, so put them there:
#                 --workdir=bucket/runs/NAME --config.data.train_path=bucket/...
#   --spot        up: cheaper, but may be taken away at any time; start it again to continue
#   --dry_run     print the commands and do nothing
#
# Every command is printed before it runs. It needs gcloud, logged in to a project with TPU quota.
set -euo pipefail

die() {
    echo "tpu_pod.sh: $1" >&2
    exit 2
}

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }

name="" zone="" type="" version="" bucket="" spot="" dry_run=""
actions=() arguments=()
while [ $# -gt 0 ]; do
    case "$1" in
        --name=*) name="${1#*=}" ;;
        --zone=*) zone="${1#*=}" ;;
        --type=*) type="${1#*=}" ;;
        --version=*) version="${1#*=}" ;;
        --bucket=*) bucket="${1#*=}" ;;
        --spot) spot=yes ;;
        --dry_run | --dry-run) dry_run=yes ;;
        --help | -h) usage; exit 0 ;;
        --) shift; arguments=("$@"); break ;;
        up | install | start | log | stop | down) actions+=("$1") ;;
        run) actions+=(up install start log) ;;
        *) die "unknown argument $1; see launch/tpu_pod.sh --help" ;;
    esac
    shift
done
[ -n "$name" ] || die "no --name; name the slice, as in --name=sgm"
[ -n "$zone" ] || die "no --zone; give a zone that has the chips, as in --zone=us-west4-a"
[ ${#actions[@]} -gt 0 ] || die "nothing to do; give an action, such as run"

# Prints a command as a shell would read it, and runs it.
tell() {
    local word line="+"
    for word in "$@"; do
        [[ $word =~ ^[[:alnum:]_./:=,@%+-]+$ ]] || word="${word@Q}"
        line+=" $word"
    done
    echo "$line"
    [ -n "$dry_run" ] || "$@"
}

tpu() { tell gcloud compute tpus tpu-vm "$@" --zone="$zone"; }

on_hosts() { tpu ssh "$name" --worker="$1" --command="$2"; }

image() {
    case "$type" in
        v4-*) echo tpu-ubuntu2204-base ;;
        v5litepod-*) echo v2-alpha-tpuv5-lite ;;
        v6e-*) echo v2-alpha-tpuv6e ;;
        *) die "no machine image is known for --type=$type; give --version" ;;
    esac
}

up() {
    [ -n "$type" ] || die "no --type; give the type of slice, as in --type=v5litepod-32"
    [ -n "$version" ] || version="$(image)"
    if tpu describe "$name" --format='value(state)' && [ -z "$dry_run" ]; then
        echo "$name is there and is used" >&2
        return
    fi
    tpu create "$name" --accelerator-type="$type" --version="$version" ${spot:+--spot}
}

install() {
    local archive="${TMPDIR:-/tmp}/sgm_jax_$name.tar.gz"
    tell git -C "$(dirname "$0")/.." archive --format=tar.gz --output="$archive" HEAD
    tpu scp "$archive" "$name:source.tar.gz" --worker=all
    # The machine images have Python 3.10, which is too old.
    on_hosts all "set -e; sudo apt-get update -qq; sudo apt-get install -y -qq python3.11-venv; \
rm -rf source; mkdir source; tar -xzf source.tar.gz -C source; ln -s ../bucket source/bucket; \
python3.11 -m venv venv; cd source; ../venv/bin/pip install -q -c constraints.txt -e '.[tpu]'"
    [ -z "$bucket" ] || mount
}

mount() {
    # Complete checkpoints are renamed folders, and hosts must see each other's files at once.
    on_hosts all "set -e; mkdir -p bucket; mountpoint -q bucket || gcsfuse --implicit-dirs \
--rename-dir-limit=100000 --metadata-cache-ttl-secs=0 ${bucket@Q} bucket"
}

# Single quotes hold what the hosts expand, not this shell.
# shellcheck disable=SC2016
start() {
    [ ${#arguments[@]} -gt 0 ] || die "start: no arguments; write -- --config=... --workdir=..."
    local running='[ -f run.pid ] && kill -0 "$(cat run.pid)" 2>/dev/null'
    on_hosts all "if $running; then echo 'a run is going on already; stop it first' >&2; exit 1; fi; \
cd source; PYTHONUNBUFFERED=1 nohup ../venv/bin/python -m sgm_jax.main ${arguments[*]@Q} \
> ../run.log 2>&1 < /dev/null & echo "'$! > ../run.pid'
}

# shellcheck disable=SC2016
log() { on_hosts 0 'tail -n +1 -F --pid="$(cat run.pid)" run.log'; }

# One SIGTERM would do: the processes agree on the step to save.
# shellcheck disable=SC2016
stop() {
    on_hosts all 'kill -TERM "$(cat run.pid)"; tail --pid="$(cat run.pid)" -f /dev/null && tail -n 3 run.log'
}

down() { tpu delete "$name" --quiet; }

for action in "${actions[@]}"; do
    "$action"
done
