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
cd "$ROOT"

make_log_dir
require_tools curl compiler rust
say "Benchmarks. A quiet machine, please; the ratios mean more than the absolute numbers."
cargo build --release --package peep-benches --bin peep-bench
for bench in json ingest; do
  say "$bench"
  "${CARGO_TARGET_DIR:-$ROOT/target}/release/peep-bench" "$bench"
done
