#!/usr/bin/env bash
# A nightly under Slurm. Submit it once with `sbatch docs/ci/slurm-nightly.sh`, or every night:
#   scrontab -e, then these three lines (scron jobs take #SCRON for #SBATCH):
#     #SCRON --job-name=servegate-nightly --gres=gpu:8 --time=08:00:00
#     #SCRON --exclusive
#     0 2 * * * $HOME/servegate/docs/ci/slurm-nightly.sh
#SBATCH --job-name=servegate-nightly
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --gres=gpu:8
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@600
#SBATCH --output=servegate-%j.log
set -uo pipefail

# Where servegate is checked out and installed; Slurm runs a copy of this file from elsewhere.
cd "${SERVEGATE_HOME:-$HOME/servegate}" || exit 2
PATH="$PWD/.venv/bin:$PATH"
EXPERIMENT=${EXPERIMENT:-experiments/qwen3.5-mixedcomm-speed.yaml}
RUNS=${RUNS:-runs}
HISTORY=${HISTORY:-$RUNS/history.sqlite}

# A gate that does not fire is worse than none: nothing is measured before it is proved.
servegate selftest || exit 3
servegate doctor "$EXPERIMENT" || exit 3

# Slurm sends TERM ten minutes before the time is over; servegate then keeps what it has.
servegate run "$EXPERIMENT" --out "$RUNS" --exit-by records &
running=$!
trap 'kill -INT "$running"' TERM
wait "$running"
# A trapped signal ends `wait` early; the run is still writing its last record then.
wait "$running" 2>/dev/null

run=$(ls -td "$RUNS"/*/*/ | head -n 1)
servegate selftest "$run" || exit 3

# Both gates are asked, and the worse answer counts: 1 regressed, 3 cannot vouch.
servegate gate "$run" --junit "$run/junit.xml"
same_night=$?
servegate gate "$run" --against-history --history "$HISTORY"
earlier=$?
for code in 1 3 2; do
    if [ "$same_night" -eq "$code" ] || [ "$earlier" -eq "$code" ]; then
        exit "$code"
    fi
done
servegate accept "$run" --history "$HISTORY" --reason "nightly job ${SLURM_JOB_ID:-}" --by nightly
