#!/usr/bin/env bash
# make ship-proof: kills a real shipper with `kill -9` and rotates its log under load, before an ingest that fails, forgets to answer
# and answers late; counts what arrived. Exits 0 only when each line arrived exactly once. The same with fewer of each is part of
# `make test`.
#
#   KILLS=20               kills (default 20)
#   ROTATIONS=20           rotations, by renaming and by copying in turns (default 20)
#   LINES_PER_SECOND=5000  how fast the log grows (default 5000)
#   ROUNDS=3               all of it so many times (default 1)
set -euo pipefail
COMMAND=ship-proof
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

export KILLS=${KILLS:-20} ROTATIONS=${ROTATIONS:-20} LINES_PER_SECOND=${LINES_PER_SECOND:-5000}

proof() { cargo test --workspace --locked --test durability -- --exact --nocapture every_line_arrives_once_over_kills_and_rotations; }

make_log_dir
require_tools compiler rust
for ((round = 1; round <= ${ROUNDS:-1}; round++)); do
  step "round $round: $KILLS kills and $ROTATIONS rotations at $LINES_PER_SECOND lines a second" proof
done
summary
