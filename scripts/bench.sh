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

# bench NAME SECONDS ARGUMENTS...: one that fails or takes too long does not keep the others from running. ONLY="flush single" runs these.
bench() {
  local name=$1 seconds=$2 began=$SECONDS bounded=()
  shift 2
  case " ${ONLY:-$name} " in *" $name "*) ;; *) return 0 ;; esac
  DONE=$((DONE + 1))
  say "$DONE of $BENCHES: $name $* (at most $seconds s; $((SECONDS / 60)) min so far)"
  # macOS has no `timeout`.
  if command -v timeout >/dev/null; then bounded=(timeout --kill-after=10 "$seconds"); fi
  ${bounded[@]+"${bounded[@]}"} "$BENCH" --rows "$ROWS" "$name" "$@" || UNFINISHED="$UNFINISHED $name"
  note "$((SECONDS - began)) s"
}

start_kafka() {
  say "Starting a broker"
  PEEP_KAFKA_BROKERS=$(PEEP_KAFKA_HEAP=${PEEP_KAFKA_HEAP:--Xms512m -Xmx512m} scripts/kafka.sh start --dir "$DEV_DIR/bench-kafka" --fresh)
  export PEEP_KAFKA_BROKERS
}

stop_all() {
  scripts/kafka.sh stop --kill --dir "$DEV_DIR/bench-kafka" >/dev/null 2>&1 || true
  remove_private_stack
}

make_log_dir
require_tools curl compiler rust postgres kafka
say "Benchmarks, about 30 minutes. A quiet machine, please; the ratios mean more than the absolute numbers."
# SKIP_BUILD=1 measures what is there.
if [ "${SKIP_BUILD:-0}" != 1 ]; then cargo build --release --package peep --package peep-benches; fi
BENCH=${CARGO_TARGET_DIR:-$ROOT/target}/release/peep-bench
PROFILE=release private_stack
trap 'stop_all' EXIT
ROWS=$DEV_DIR/rows
UNFINISHED='' DONE=0 BENCHES=16
touch "$ROWS"

bench json 60
bench otlp 60
bench ingest 120
bench ship 180
start_kafka
bench acknowledged 480
bench resident 90
bench latency 120
bench rollup 180
bench flush 120
bench pipeline 240 --rollup-floor-from "$ROWS"
scripts/kafka.sh stop --kill --dir "$DEV_DIR/bench-kafka" >/dev/null
unset PEEP_KAFKA_BROKERS
bench single 240
bench memory 60
bench exactly-once 120

# Both ends of ten thousand connections, each in a process of its own.
ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -Hn)"
bench fanout 300
bench viewers 420
bench summary 600

private_stack_up
bench freshness 120

say "All rows, $((SECONDS / 60)) minutes"
"$BENCH" table "$ROWS" || UNFINISHED="$UNFINISHED (rows above)"
[ -z "$UNFINISHED" ] || fail "missed or unfinished:$UNFINISHED" "read the lines above; on a busy machine, run that bench again by itself"
