# shellcheck shell=bash
# The demo load: a made-up shop whose services have good and bad minutes, sent by the load generator of benches/ with the
# stack's own ingest key. RATE and FOR are for `make demo`; the load that follows a start is short and modest.

RATE=${RATE:-200}
FOR=${FOR:-10m}

# start_demo: a quarter of an hour of history and ten minutes of traffic, in the background.
start_demo() {
  if [ "$DEMO" = 0 ]; then return 0; fi
  start_process demo "$BIN_DIR/peep-load" --url "http://127.0.0.1:$INGEST_PORT" --key "$PEEP_INGEST_KEY" \
    --backfill 15m --rate 50 --for 10m
}

run_demo_in_foreground() {
  # shellcheck source=/dev/null
  . "$ENV_FILE"
  case $RATE in '' | *[!0-9]*) fail "RATE=$RATE is not a number of events per second" "make demo RATE=200" ;; esac
  say "Sending $RATE events per second for $FOR; Ctrl-C stops"
  "$BIN_DIR/peep-load" --url "http://127.0.0.1:$INGEST_PORT" --key "$PEEP_INGEST_KEY" --rate "$RATE" --for "$FOR"
}
