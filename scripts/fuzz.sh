#!/usr/bin/env bash
# make fuzz: runs every fuzz target of fuzz/ for a minute, one after the other, starting from the inputs in fuzz/corpus/. Exits 0 only
# when none of them found anything. What they learn stays in fuzz/target/, so that the next run goes on from there.
#
#   TARGET=record      this one only (default: all of them; see fuzz/README.md)
#   FOR=600            seconds for each target (default 60)
#   SANITIZER=address  finds misuse of memory in C libraries too, at half the speed (default none: our own code is safe Rust)
#   KEEP=1             take the smallest inputs that reach everything over into fuzz/corpus/
set -euo pipefail
COMMAND=fuzz
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
# shellcheck source=scripts/lib/suite.sh
. "$LIB/suite.sh"
cd "$ROOT"

FOR=${FOR:-60}
SANITIZER=${SANITIZER:-none}
INPUT_BYTES_MAX=4096
# For each target in the repository; `cargo test` replays all of them.
KEPT_MAX=40

make_log_dir
require_tools compiler rust cargo_fuzz
TARGETS=$(cargo fuzz list --fuzz-dir fuzz)
if [ -n "${TARGET:-}" ]; then
  case " $(echo "$TARGETS" | tr '\n' ' ')" in
    *" $TARGET "*) TARGETS=$TARGET ;;
    *) fail "there is no fuzz target $TARGET" "one of: $(echo "$TARGETS" | tr '\n' ' ')" ;;
  esac
fi

# The pinned stable compiler: counting branches needs an option of it that only nightly offers by name.
export RUSTC_BOOTSTRAP=1
say "Building the fuzz targets; the first time takes some minutes"
# shellcheck disable=SC2086 # one target or none
cargo fuzz build --fuzz-dir fuzz -s "$SANITIZER" ${TARGET:-} || fail "the fuzz targets do not build" "the compiler's message is above"
TRIPLE=$(rustc -vV | sed -n 's/^host: //p')

# fuzz TARGET: what it finds lies in fuzz/artifacts/ and fails the step.
fuzz() {
  local binary=fuzz/target/$TRIPLE/release/$1 learnt=fuzz/target/corpus/$1 found=fuzz/artifacts/$1/
  mkdir -p "$learnt" "$found"
  "$binary" -max_total_time="$FOR" -max_len="$INPUT_BYTES_MAX" -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found" "$learnt" "fuzz/corpus/$1" >"$LOG_DIR/fuzz-$1.log" 2>&1 || {
    tail -n 30 "$LOG_DIR/fuzz-$1.log"
    return 1
  }
  grep -E '^Done|cov:' "$LOG_DIR/fuzz-$1.log" | tail -n 2
  if [ "${KEEP:-0}" = 1 ]; then keep "$1" "$binary" "$learnt"; fi
}

# keep TARGET BINARY LEARNT: few files, small and large ones. Those that have a name and no number stay.
keep() {
  local merged=fuzz/target/merged/$1 found step
  rm -rf "$merged" && mkdir -p "$merged"
  "$2" -set_cover_merge=1 -max_len="$INPUT_BYTES_MAX" "$merged" "fuzz/corpus/$1" "$3" >>"$LOG_DIR/fuzz-$1.log" 2>&1
  find "fuzz/corpus/$1" -type f -name '[0-9a-f]*' ! -name '*[g-z_]*' -exec rm -f '{}' +
  found=$(find "$merged" -type f -size -3k | wc -l)
  step=$(((found + KEPT_MAX - 1) / KEPT_MAX))
  find "$merged" -type f -size -3k -exec wc -c '{}' + | grep -v ' total$' | sort -n | awk -v step="$step" 'NR % step == 0 { print $2 }' |
    head -n "$KEPT_MAX" | xargs -I '{}' cp '{}' "fuzz/corpus/$1/"
}

for target in $TARGETS; do step "$target, $FOR s" fuzz "$target"; done
summary
