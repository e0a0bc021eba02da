# shellcheck shell=bash
# What a person sees of a running stack: the welcome with its addresses, and the logs as they grow.

# Paths as seen from the checkout, where make is run.
shown() { echo "${1#"$ROOT"/}"; }

print_welcome() {
  local url login
  url=http://127.0.0.1:$STREAM_PORT
  login=$(PEEP_STREAM_LISTEN=127.0.0.1:$STREAM_PORT "$BIN_DIR/peep" login-link --project dev --base-url "$url" 2>"$LOG_DIR/login-link.log") ||
    fail "no login link: $(last_words login-link)" "the whole log is $LOG_DIR/login-link.log"
  cat <<TEXT

${BOLD}peep is ready${PLAIN}

  dashboard   ${GREEN}$login${PLAIN}
              (works once; make $COMMAND prints a new one)
  ingest      http://127.0.0.1:$INGEST_PORT/v1/events   key $PEEP_INGEST_KEY
  read API    $url/v1/summary      key $PEEP_READ_KEY
  metrics     http://127.0.0.1:$ADMIN_PORT/metrics
  settings    $(shown "$ENV_FILE")
  logs        $(shown "$LOG_DIR")/*.log

  Send an event:

  curl -sS http://127.0.0.1:$INGEST_PORT/v1/events \\
    -H 'Authorization: Bearer $PEEP_INGEST_KEY' -H 'Content-Type: application/json' \\
    -d '{"service":"hello","route":"/","method":"GET","status":200,"duration_ms":12.5}'

TEXT
  if is_running demo; then note "Demo traffic runs for a quarter of an hour; make demo sends more."; fi
}

# follow_logs LINES: the last lines of every service's log and everything after, each line named when there are several.
# Runs in the background, in a process group of its own, until stop_following.
follow_logs() {
  local lines=$1 name names prefix
  names=$(services)
  set -m
  (
    set +m
    for name in $names; do
      prefix=''
      if [ "$names" != "$name" ]; then prefix=$(printf '%-8s' "$name"); fi
      # A loop of the shell's own: awk and sed hold lines back when they write to or read from a pipe.
      tail -n "$lines" -F "$(log_file "$name")" 2>/dev/null | while IFS= read -r line; do printf '%s%s\n' "$prefix" "$line"; done &
    done
    wait
  ) &
  FOLLOWER=$!
  set +m
}

stop_following() {
  if [ -n "${FOLLOWER:-}" ]; then
    kill -TERM -- "-$FOLLOWER" 2>/dev/null || true
    FOLLOWER=''
  fi
}

# watch_services: returns only by failing, when a service has ended by itself.
watch_services() {
  local name
  while true; do
    for name in $(services); do
      if ! is_running "$name"; then
        sleep 0.5
        fail "$name has stopped by itself: $(last_words "$name" | tail -n 1)" "the whole log is $(shown "$(log_file "$name")")"
      fi
    done
    sleep 1
  done
}
