#!/usr/bin/env bash
# The journey of a user, on a stack of its own: make up, an event in, its number out, wrong input, a crash, make down.
# Part of `make test`. Expects the binaries of PROFILE to be built; runs in a temporary folder on ports of its own.
#
#   journey.sh            the whole journey, in one process and then with Kafka
set -euo pipefail
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/private_stack.sh
. "$LIB/private_stack.sh"
cd "$LIB/../.."

CHECKS=0
WRONG=0
RUN=$$-$SECONDS

# expect WHAT WANTED FOUND: equal, or found matches the pattern.
expect() {
  CHECKS=$((CHECKS + 1))
  # shellcheck disable=SC2254 # a pattern
  case $3 in
    $2) note "ok      $1" ;;
    *)
      WRONG=$((WRONG + 1))
      printf '    %sNOT OK%s  %s\n            wanted: %s\n            found:  %s\n' "$RED" "$PLAIN" "$1" "$2" "$3"
      ;;
  esac
}

# status_and_output COMMAND...: runs it; STATUS and OUTPUT tell.
status_and_output() {
  STATUS=0
  OUTPUT=$("$@" 2>&1) || STATUS=$?
}

# post BODY [KEY] [CONTENT-TYPE]: "<status> <answer>"
post() {
  curl -sS -m 10 -w '%{http_code} ' -o "$DEV_DIR/answer" "$PEEP_INGEST_URL/v1/events" \
    -H "Authorization: Bearer ${2-$PEEP_INGEST_KEY}" -H "Content-Type: ${3:-application/json}" --data-binary "$1" || true
  cat "$DEV_DIR/answer"
}

# count_of SERVICE WANTED: its count over the last hour, as soon as it is WANTED, or what it is after 20 s: twice the time
# after which a killed worker's lease ends.
count_of() {
  local answer deadline=$((SECONDS + 20)) count=''
  while true; do
    answer=$(curl -sS -m 5 -H "Authorization: Bearer $PEEP_READ_KEY" "$PEEP_URL/v1/summary?from=-1h&to=now&service=$1&group_by=service" || true)
    count=$(echo "$answer" | sed -n 's/.*"count":\([0-9]*\).*/\1/p')
    if [ "${count:-0}" = "$2" ] || [ "$SECONDS" -ge "$deadline" ]; then break; fi
    sleep 0.1
  done
  echo "${count:-0}"
}

events() { # SERVICE NUMBER: that many events as NDJSON
  local i
  for i in $(seq "$2"); do echo "{\"service\":\"$1\",\"route\":\"/r\",\"method\":\"GET\",\"status\":200,\"duration_ms\":$i}"; done
}

load_env() {
  # shellcheck source=/dev/null
  . "$ENV_FILE"
}

# --- the stations -----------------------------------------------------------------------------------------------------

comes_up() { # KAFKA SECONDS-MAX
  local started=$SECONDS
  status_and_output make up "KAFKA=$1"
  expect "make up KAFKA=$1 succeeds" 0 "$STATUS"
  if [ "$STATUS" -ne 0 ]; then
    echo "$OUTPUT"
    show_logs
    summary
  fi
  expect "it prints a one-time link to the dashboard" '*/login/#token=*' "$OUTPUT"
  load_env
  expect "dev.env is readable by its owner only" '-rw-------*' "$(find "$ENV_FILE" -exec ls -l {} \;)"
  note "        up in $((SECONDS - started)) s"
  started=$SECONDS
  status_and_output make up "KAFKA=$1"
  expect "a second make up is harmless" "0*already up*" "$STATUS $OUTPUT"
  expect "and takes less than $2 s" yes "$([ $((SECONDS - started)) -lt "$2" ] && echo yes || echo "$((SECONDS - started)) s")"
  status_and_output make status
  expect "make status says that all is well" 0 "$STATUS"
}

counts_what_it_accepts() { # SERVICE
  expect "three events are accepted" '202 *"accepted":3*' "$(post "$(events "$1" 3)" "$PEEP_INGEST_KEY" application/x-ndjson)"
  expect "and counted" 3 "$(count_of "$1" 3)"
}

answers_wrong_input() {
  expect "a bad event is named, the good one beside it kept" '202 *"accepted":1*"index":1*"code":"invalid_duration"*' \
    "$(post '[{"service":"mixed","duration_ms":1},{"service":"mixed","duration_ms":-1}]')"
  expect "no good event at all is 422" '422 *"no_valid_event"*' "$(post '[{"duration_ms":1}]')"
  expect "broken JSON is 400" '400 *"invalid_json"*' "$(post '{"service":')"
  expect "no key is 401" '401 *"unauthorized"*' "$(post '{}' '')"
  expect "an unknown key is 401" '401 *"unauthorized"*' "$(post '{}' peep_ing_nonsense)"
  expect "a read key may not write" '403 *"forbidden"*' "$(post '{}' "$PEEP_READ_KEY")"
  expect "another content type is 415" '415 *"unsupported_media_type"*' "$(post '{}' "$PEEP_INGEST_KEY" text/html)"
  expect "an ingest key may not read" '403*' "$(curl -sS -o "$DEV_DIR/answer" -w '%{http_code}' -H "Authorization: Bearer $PEEP_INGEST_KEY" "$PEEP_URL/v1/services")"
  expect "the dashboard's page is served" '200*' "$(curl -sS -o "$DEV_DIR/answer" -w '%{http_code}' "$PEEP_URL/")"
}

refuses_nonsense() {
  status_and_output make up PORT_OFFSET=abc
  expect "PORT_OFFSET=abc is refused with the reason" '2 *PORT_OFFSET=abc is not a number*fix:*' "$STATUS $OUTPUT"
  status_and_output make up PORT_OFFSET=2000
  expect "an offset to a port that browsers refuse is refused" '2 *browsers refuse to connect to port 10080*fix:*' "$STATUS $OUTPUT"
  status_and_output env PEEP_DEV_DIR="$DEV_DIR/other" make up
  expect "a port in use names its owner and the way out" '2 *port * is in use by pid *PORT_OFFSET=*' "$STATUS $OUTPUT"
  status_and_output env PEEP_INGEST_LISTEN=nonsense "$BIN_DIR/peep" up
  expect "a nonsense setting ends with exit code 64 and names itself" '64 *PEEP_INGEST_LISTEN*nonsense*' "$STATUS $OUTPUT"
}

survives_a_crash() { # SERVICE PROCESS...
  local service=$1 name pid
  shift
  expect "five events are accepted" '202 *"accepted":5*' "$(post "$(events "$service" 5)" "$PEEP_INGEST_KEY" application/x-ndjson)"
  for name in "$@"; do
    read -r pid _ <"$DEV_DIR/run/$name.pid"
    kill -KILL "$pid"
  done
  status_and_output make status
  expect "make status says that it is down" 2 "$STATUS"
  status_and_output make up
  expect "make up repairs it" 0 "$STATUS"
  expect "what was accepted before kill -9 is counted, once" 5 "$(count_of "$service" 5)"
}

goes_down() {
  status_and_output make down
  expect "make down succeeds" 0 "$STATUS"
  status_and_output make down
  expect "and again" 0 "$STATUS"
  expect "nothing listens any more" "000" "$(curl -sS -m 2 -o "$DEV_DIR/answer" -w '%{http_code}' "$PEEP_ADMIN_URL/healthz" 2>/dev/null || true)"
}

summary() {
  note "$CHECKS checks, $WRONG not ok"
  exit "$((WRONG > 0))"
}

show_logs() {
  local log
  for log in "$LOG_DIR"/*.log; do
    printf -- '--- the end of %s\n' "$log"
    tail -n 15 "$log"
  done
}

private_stack
export DEMO=0 KAFKA=0
say "Everything in one process"
comes_up 0 10
counts_what_it_accepts "shop-$RUN"
answers_wrong_input
refuses_nonsense
survives_a_crash "crash-$RUN" peep
goes_down
status_and_output make up
expect "up again, the numbers are still there" 3 "$(count_of "shop-$RUN" 3)"
goes_down

say "With Kafka, each service as its own process"
export KAFKA=1
comes_up 1 15
counts_what_it_accepts "kafka-$RUN"
survives_a_crash "kafka-crash-$RUN" ingest rollup stream
goes_down
if [ "$WRONG" -gt 0 ]; then show_logs; fi
status_and_output make reset YES=1
expect "make reset deletes the data" "0 gone" "$STATUS $([ -e "$DEV_DIR/postgres" ] || echo gone)"
summary
