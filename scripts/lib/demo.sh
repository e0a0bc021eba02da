# shellcheck shell=bash
# The demo load: the made-up web shop of the load generator in benches/, sent with the stack's own ingest key. The key travels
# in the environment, where other users of the machine do not see it.

RATE=${RATE:-200}
FOR=${FOR:-10m}

# start_demo: a quarter of an hour of history, then a quarter of an hour of modest traffic, in the background.
start_demo() {
  if [ "$DEMO" = 0 ]; then return 0; fi
  start_process demo env PEEP_INGEST_URL="http://127.0.0.1:$INGEST_PORT" PEEP_INGEST_KEY="$PEEP_INGEST_KEY" \
    "$BIN_DIR/peep-load" --env-name production --backfill 15m --rate 100 --for 15m
}

run_demo() {
  case $RATE in '' | *[!0-9]*) fail "RATE=$RATE is not a number of events per second" "make demo RATE=200" ;; esac
  # shellcheck source=/dev/null
  . "$ENV_FILE"
  say "Sending $RATE events per second for $FOR to $PEEP_INGEST_URL; Ctrl-C stops"
  PEEP_INGEST_URL=$PEEP_INGEST_URL PEEP_INGEST_KEY=$PEEP_INGEST_KEY \
    "$BIN_DIR/peep-load" --env-name production --rate "$RATE" --for "$FOR" || fail "not everything that was sent was accepted" "the table above says what; make status shows the health"
}
