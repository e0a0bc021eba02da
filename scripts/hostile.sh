#!/usr/bin/env bash
# make hostile: sends a real ingest what no honest client would, straight and through real proxies, beside an honest client that
# must not notice. Needs Linux. All of it takes about ten minutes; see docs/hostile-input.md.
#
#   CASE=H08,H03a    these only (default: all of them; scripts/hostile.sh --list names them)
#   SHORT=1          those that need no other programs and little time
#   PEEP_BIN=path    attack this binary (default: the debug build)
set -euo pipefail
COMMAND=hostile
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
  echo "SKIPPED: hostile input is only sent on Linux (/proc, setpriv)"
  exit 77
fi

make_log_dir
if [ "${SHORT:-0}" = 1 ] || [ "${1:-}" = --list ]; then
  require_tools compiler rust postgres
else
  require_tools compiler rust postgres proxies slowhttptest go h2spec
fi
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}/debug
cargo build --quiet --package peep --bin peep --package peep-hostile --bin peep-hostile
export PEEP_BIN=${PEEP_BIN:-$TARGET/peep}

# Both sides of four thousand connections, and more.
ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -Hn)"

RESULTS=$DEV_DIR/hostile.json
if [ $# -gt 0 ]; then
  :
elif [ "${SHORT:-0}" = 1 ]; then
  set -- --short
elif [ -n "${CASE:-}" ]; then
  set -- --case "$CASE" --json "$RESULTS"
else
  set -- --all --json "$RESULTS" --markdown "$ROOT/docs/hostile-input.md"
fi
exec "$TARGET/peep-hostile" "$@"
