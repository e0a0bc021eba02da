#!/usr/bin/env bash
# Asks a peep of its own whatever its OpenAPI description allows, and what it does not (schemathesis): no answer may be a server
# error, and every status, type and body must be as described. Part of `make test`. Expects the binaries of PROFILE to be built.
set -euo pipefail
COMMAND=openapi
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/private_stack.sh
. "$LIB/private_stack.sh"
cd "$ROOT"

REQUIREMENTS=$ROOT/scripts/openapi/requirements.txt
# Seconds for all questions; the seed makes a failure come again.
TIME_MAX=${TIME_MAX:-30}
SEED=${SEED:-20261120}

# Once for each pinned version; what was installed only half is not there.
install_schemathesis() {
  TOOLS=$CACHE_DIR/openapi/python-$(cksum <"$REQUIREMENTS" | cut -d ' ' -f 1)
  if [ -e "$TOOLS/complete" ]; then return; fi
  rm -rf "$TOOLS"
  python3 -m venv "$TOOLS"
  "$TOOLS/bin/pip" install --quiet --disable-pip-version-check --requirement "$REQUIREMENTS"
  touch "$TOOLS/complete"
}

# Something to find: requests of two releases on two hosts, some of them slow, some failing, and some that are refused.
send_events() {
  local now
  now=$(($(date +%s) * 1000))
  for minute in $(seq 0 9); do
    for number in $(seq 0 19); do
      printf '{"service":"shop","route":"/buy/%s","method":"POST","status":%s,"duration_ms":%s,"ts":%s,"version":"v%s","host":"web-%s","trace_id":"%032x","attrs":{"plan":"free"}}\n' \
        "$number" "$((number % 7 ? 200 : 502))" "$((number * number + 1))" "$((now - minute * 60000))" "$((1 + number % 2))" "$((number % 2))" "$((minute * 100 + number + 1))"
    done
  done | curl -sS -m 10 -o /dev/null -H "Authorization: Bearer $PEEP_INGEST_KEY" -H 'Content-Type: application/x-ndjson' \
    --data-binary @- "$PEEP_INGEST_URL/v1/events"
  curl -sS -m 10 -o /dev/null -H "Authorization: Bearer $PEEP_INGEST_KEY" -H 'Content-Type: application/json' \
    -d '[{"service":"shop"},{"service":"shop","duration_ms":-1}]' "$PEEP_INGEST_URL/v1/events"
}

# ask KEY ARGUMENTS... One worker: the parser of some Python 3.11 fails in threads.
ask() {
  local key=$1
  shift
  "$TOOLS/bin/schemathesis" run "$DEV_DIR/openapi.json" --url "$PEEP_URL" --header "Authorization: Bearer $key" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method \
    --phases examples,coverage,fuzzing --suppress-health-check all --warnings off --continue-on-failure \
    --seed "$SEED" --generation-deterministic --request-timeout 20 --workers 1 --no-color "$@"
}

install_schemathesis
private_stack
make_log_dir
private_stack_up
send_events
# What is revoked below must not be the key that asks.
ADMIN_KEY=$("$BIN_DIR/peep" key create --project dev --scope admin --name "description check" --quiet)
curl -sS -m 10 "$PEEP_URL/v1/openapi.json" >"$DEV_DIR/openapi.json"

WRONG=0
# A live view does not end, a revoked key may be the one that asks, and test messages would go to whatever address comes to mind.
ask "$ADMIN_KEY" --exclude-operation-id live --exclude-operation-id revokeKey --exclude-operation-id testAlert --max-time "$TIME_MAX" || WRONG=1
ask "$ADMIN_KEY" --include-operation-id revokeKey --max-time 3 || WRONG=1
exit "$WRONG"
