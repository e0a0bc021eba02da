#!/usr/bin/env bash
# make bench: the benchmarks. What each one asks, and how to read its answer, is in benches/README.md.
set -euo pipefail
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
# shellcheck source=scripts/lib/private_stack.sh
. "$LIB/private_stack.sh"
cd "$ROOT"

make_log_dir
require_tools curl compiler rust postgres
say "Benchmarks. A quiet machine, please; the ratios mean more than the absolute numbers."
cargo build --release --package peep --package peep-benches
BENCH=${CARGO_TARGET_DIR:-$ROOT/target}/release/peep-bench
PROFILE=release private_stack
ROWS=$DEV_DIR/rows
UNFINISHED=

# bench NAME ARGUMENTS...: one that fails does not keep the others from running.
bench() {
  say "$*"
  "$BENCH" --rows "$ROWS" "$@" || UNFINISHED="$UNFINISHED $1"
}

for name in json otlp memory ingest exactly-once; do
  bench "$name"
done

DEMO=0 KAFKA=0 make --silent up >"$DEV_DIR/up.log" 2>&1 || {
  cat "$DEV_DIR/up.log"
  exit 1
}
set -a
# shellcheck source=/dev/null
. "$ENV_FILE"
set +a
bench freshness

say "All rows"
"$BENCH" table "$ROWS" || UNFINISHED="$UNFINISHED (see above)"
[ -z "$UNFINISHED" ] || fail "missed or unfinished:$UNFINISHED" "read the lines above; on a busy machine, run that bench again by itself"
