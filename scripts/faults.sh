#!/usr/bin/env bash
# make faults: breaks processes, networks, disks, brokers and clocks under load, and proves that no acknowledged event is lost or
# counted twice. Needs Linux, and root or sudo for a disk of its own. All of it takes about half an hour; see docs/guarantees.md.
#
#   FAULT=F06,F19    these only (default: all of them; scripts/faults.sh --list names them)
#   EVENTS=20000     acknowledged events for each fault (default 200000)
#   SEED=7           repeat the chances of an earlier run
#   SHORT=1          the selection that `make test` runs, with few events
#   PEEP_BIN=path    break this binary; it has to be built with failpoints (default: the debug build, which is)
set -euo pipefail
COMMAND=faults
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
cd "$ROOT"

if [ "$(uname -s)" != Linux ]; then
  # The exit status that `make test` reports as skipped, see lib/suite.sh.
  echo "SKIPPED: faults are only played on Linux (signals, /proc, tmpfs, libfaketime)"
  exit 77
fi

make_log_dir
if [ "${SHORT:-0}" = 1 ] || [ "${1:-}" = --list ]; then
  require_tools compiler rust postgres kafka
else
  require_tools compiler rust postgres kafka faketime
fi
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}/debug
# PREBUILT=1: see build_binaries in lib/build.sh.
if [ "${PREBUILT:-0}" != 1 ] || [ ! -x "$TARGET/peep-faults" ]; then
  cargo build --quiet --package peep --bin peep --package peep-faults --bin peep-faults
fi
export PEEP_BIN=${PEEP_BIN:-$TARGET/peep}

RESULTS=$DEV_DIR/faults.json
if [ $# -gt 0 ]; then
  :
elif [ "${SHORT:-0}" = 1 ]; then
  set -- --short --events "${EVENTS:-20000}"
elif [ -n "${FAULT:-}" ]; then
  set -- --fault "$FAULT" --events "${EVENTS:-200000}" --json "$RESULTS"
else
  set -- --all --events "${EVENTS:-200000}" --json "$RESULTS" --markdown "$ROOT/docs/guarantees.md"
fi
if [ -n "${SEED:-}" ]; then set -- "$@" --seed "$SEED"; fi
exec "$TARGET/peep-faults" "$@"
