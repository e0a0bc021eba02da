#!/usr/bin/env bash
# make screenshots: pictures of every page into docs/images, from a stack of its own with the demo load in it. Nothing of
# it touches the user's own stack. The pictures are of real traffic, so no two runs give the same.
set -euo pipefail
COMMAND="screenshots"
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
# shellcheck source=scripts/lib/build.sh
. "$LIB/build.sh"
# shellcheck source=scripts/lib/private_stack.sh
. "$LIB/private_stack.sh"
cd "$ROOT"

# How long the demo load runs before the pictures: enough for live lines beside the history that it sends first.
SEED_SECONDS=${SEED_SECONDS:-40}
IMAGES=$ROOT/docs/images
BYTES_MAX=$((3 * 1024 * 1024))

# api METHOD PATH BODY: as the owner of the project.
api() {
  curl -sS -m 20 -X "$1" -H "Authorization: Bearer $PEEP_ADMIN_KEY" -H 'Content-Type: application/json' \
    --data-binary "$3" "$PEEP_URL$2"
}

# What the demo load does not make: two rules, an event that is set aside, and a receipt to look up.
dress() {
  api POST /v1/alerts '{"name":"99.9 % of requests succeed over 30 days","service":null,"env":null,"kind":"error_budget","target":{"objective":0.999,"period_days":30},"receiver":null,"enabled":true}' >/dev/null
  api POST /v1/alerts '{"name":"p99 stays under 2× its usual","service":null,"env":null,"kind":"latency","target":{"quantile":0.99,"times_usual":2},"receiver":null,"enabled":true}' >/dev/null
  local events='[{"service":"checkout","env":"production","route":"/cart/{id}","method":"POST","status":201,"duration_ms":38.4},{"service":"checkout","env":"production","duration_ms":"soon"}]'
  PEEP_RECEIPT=$(curl -sS -m 20 -H "Authorization: Bearer $PEEP_INGEST_KEY" -H 'Content-Type: application/json' \
    --data-binary "$events" "$PEEP_INGEST_URL/v1/events" | sed -n 's/.*"receipt":"\([^"]*\)".*/\1/p')
  export PEEP_RECEIPT
}

make_log_dir
require_tools curl compiler rust node postgres chromium
build_dashboard
BUILT=${SKIP_BUILD:-0}
private_stack
if [ "$BUILT" != 1 ]; then build_binaries; fi
DEMO=1 KAFKA=0 make up
set -a
# shellcheck source=/dev/null
. "$ENV_FILE"
set +a
PEEP_ADMIN_KEY=$("$BIN_DIR/peep" key create --project dev --scope admin --quiet)
PEEP_CHROMIUM=$(chromium_path)
export PEEP_ADMIN_KEY PEEP_CHROMIUM
say "Waiting $SEED_SECONDS s for live traffic"
sleep "$SEED_SECONDS"
dress
rm -f "$IMAGES"/*.png
SERVICE=checkout npm run --silent screenshots --prefix dashboard "$IMAGES"

SIZE=$(cat "$IMAGES"/*.png | wc -c)
if [ "$SIZE" -gt "$BYTES_MAX" ]; then
  fail "the pictures have $SIZE bytes, over the limit of $BYTES_MAX" "take fewer, or smaller ones, in dashboard/e2e/screenshots.mjs"
fi
note "$((SIZE / 1024)) KiB in docs/images; look at them before you commit them"
