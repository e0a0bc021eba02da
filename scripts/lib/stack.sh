# shellcheck shell=bash
# One running stack: Postgres, Kafka when asked for, keys, the peep services. The order up is the order of the functions;
# the order down is the reverse, so that every part still finds what it has to flush to.
# Each step does nothing when it is already done, which is what makes a second `up` harmless.

# What is running, so that `down`, `status` and a second `up` need no variables repeated.
STACK_FILE=$RUN_DIR/stack
# A database of the user's own. Not the private one, which a shell that has sourced dev.env also names.
GIVEN_DATABASE_URL=${DATABASE_URL:-}
if [ -f "$DEV_DIR/postgres/password" ]; then
  case $GIVEN_DATABASE_URL in *":$(cat "$DEV_DIR/postgres/password")@"*) GIVEN_DATABASE_URL='' ;; esac
fi

services() { if [ "$KAFKA" = 1 ]; then echo "ingest rollup stream"; else echo "peep"; fi; }

admin_port() {
  case $1 in
    peep | ingest) echo "$ADMIN_PORT" ;;
    rollup) echo "$ROLLUP_ADMIN_PORT" ;;
    stream) echo "$STREAM_ADMIN_PORT" ;;
  esac
}

service_ports() {
  case $1 in
    peep) echo "$INGEST_PORT $STREAM_PORT $ADMIN_PORT" ;;
    ingest) echo "$INGEST_PORT $ADMIN_PORT" ;;
    rollup) echo "$ROLLUP_ADMIN_PORT" ;;
    stream) echo "$STREAM_PORT $STREAM_ADMIN_PORT" ;;
  esac
}

any_service_running() {
  local name
  for name in peep ingest rollup stream; do
    if is_running "$name"; then return 0; fi
  done
  return 1
}

# recall_stack: the variables the running stack was started with; fails when there is none.
recall_stack() {
  [ -f "$STACK_FILE" ] || return 1
  # shellcheck source=/dev/null
  . "$STACK_FILE"
}

remember_stack() { printf 'KAFKA=%s\nPORT_OFFSET=%s\nPROFILE=%s\n' "$KAFKA" "$PORT_OFFSET" "$PROFILE" >"$STACK_FILE"; }

# refuse_other_stack: one folder runs one stack.
refuse_other_stack() {
  local wanted="KAFKA=$KAFKA PORT_OFFSET=$PORT_OFFSET" running
  any_service_running || return 0
  running=$(recall_stack && echo "KAFKA=$KAFKA PORT_OFFSET=$PORT_OFFSET") || return 0
  if [ "$running" != "$wanted" ]; then
    fail "peep already runs from this folder with $running" "make down, then make $COMMAND $wanted"
  fi
}

require_free_ports() {
  local name port
  for name in $(services); do
    if is_running "$name"; then continue; fi
    for port in $(service_ports "$name"); do require_free_port "$port"; done
  done
  if [ -z "$GIVEN_DATABASE_URL" ] && ! "$ROOT/scripts/postgres.sh" status --dir "$DEV_DIR/postgres" >/dev/null 2>&1; then
    require_free_port "$POSTGRES_PORT"
  fi
  if [ "$KAFKA" = 1 ] && ! "$ROOT/scripts/kafka.sh" status --dir "$DEV_DIR/kafka" >/dev/null 2>&1; then
    require_free_port "$KAFKA_PORT"
  fi
}

# --- storage ----------------------------------------------------------------------------------------------------------

# Postgres and Kafka count offsets of their own, so each kind of log has a database of its own. Going from one to the other
# with KAFKA=1 and back loses nothing.
database_name() { if [ "$KAFKA" = 1 ]; then echo peep_kafka; else echo peep; fi; }

start_storage() {
  local kafka_start=''
  if [ "$KAFKA" = 1 ]; then
    # Side by side: together they take as long as the slower one.
    "$ROOT/scripts/kafka.sh" start --dir "$DEV_DIR/kafka" --port "$KAFKA_PORT" >"$LOG_DIR/kafka-start.log" 2>&1 &
    kafka_start=$!
  fi
  start_postgres
  if [ -n "$kafka_start" ]; then
    wait "$kafka_start" || fail "Kafka did not start: $(reason_in kafka-start)" "the whole log is $LOG_DIR/kafka-start.log"
    PEEP_KAFKA_BROKERS=$(tail -n 1 "$LOG_DIR/kafka-start.log")
    export PEEP_KAFKA_BROKERS PEEP_LOG=kafka
  fi
}

start_postgres() {
  if [ -n "$GIVEN_DATABASE_URL" ]; then
    export DATABASE_URL=$GIVEN_DATABASE_URL
    return
  fi
  "$ROOT/scripts/postgres.sh" start --dir "$DEV_DIR/postgres" --port "$POSTGRES_PORT" >"$LOG_DIR/postgres-start.log" 2>&1 ||
    fail "Postgres did not start: $(reason_in postgres-start)" "the whole log is $LOG_DIR/postgres-start.log"
  DATABASE_URL=$("$ROOT/scripts/postgres.sh" database --dir "$DEV_DIR/postgres" --name "$(database_name)" 2>>"$LOG_DIR/postgres-start.log") ||
    fail "the database could not be created: $(reason_in postgres-start)" "the whole log is $LOG_DIR/postgres-start.log"
  export DATABASE_URL
}

# The scripts end with "error: <cause>" and "fix: <what to do>"; the cause goes into our own message.
reason_in() {
  local line
  line=$(grep -h 'error: ' "$LOG_DIR/$1.log" 2>/dev/null | tail -n 1 || true)
  echo "${line#*error: }"
}

stop_storage() {
  local name
  for name in kafka postgres; do
    [ -d "$DEV_DIR/$name" ] || continue
    if "$ROOT/scripts/$name.sh" status --dir "$DEV_DIR/$name" >/dev/null 2>&1; then
      if "$ROOT/scripts/$name.sh" stop --dir "$DEV_DIR/$name" >"$LOG_DIR/$name-stop.log" 2>&1; then
        note "$name stopped"
      else
        warn "$name did not stop: $(reason_in "$name-stop")"
      fi
    fi
  done
}

# --- keys and dev.env -------------------------------------------------------------------------------------------------

migrate() {
  "$BIN_DIR/peep" migrate >"$LOG_DIR/migrate.log" 2>&1 ||
    fail "the database could not be migrated: $(last_words migrate)" \
      "if the local data comes from another version, \`make reset\` deletes it; the whole log is $LOG_DIR/migrate.log"
}

# ensure_keys: one pair for each database, created once. The ingest key is bound to no environment, so that the demo can
# use any name.
ensure_keys() {
  local id file ingest read
  if [ -n "$GIVEN_DATABASE_URL" ]; then id=given-$(echo "$GIVEN_DATABASE_URL" | cksum | cut -d ' ' -f 1); else id=$(database_name); fi
  file=$DEV_DIR/keys/$id
  if [ ! -s "$file" ]; then
    if ! ingest=$(create_key ingest) || ! read=$(create_key read); then
      fail "the keys could not be created: $(last_words keys)" "the whole log is $LOG_DIR/keys.log"
    fi
    (
      umask 077
      mkdir -p "$DEV_DIR/keys"
      printf 'PEEP_INGEST_KEY=%s\nPEEP_READ_KEY=%s\n' "$ingest" "$read" >"$file.new"
      mv "$file.new" "$file"
    )
  fi
  # shellcheck source=/dev/null
  . "$file"
}

create_key() { "$BIN_DIR/peep" key create --project dev --scope "$1" --quiet 2>>"$LOG_DIR/keys.log"; }

write_env_file() {
  (
    umask 077
    {
      echo "# Written by make $COMMAND. Load it with: set -a; . $ENV_FILE; set +a"
      echo "PEEP_INGEST_URL=http://127.0.0.1:$INGEST_PORT"
      echo "PEEP_URL=http://127.0.0.1:$STREAM_PORT"
      echo "PEEP_ADMIN_URL=http://127.0.0.1:$ADMIN_PORT"
      echo "PEEP_INGEST_KEY=$PEEP_INGEST_KEY"
      echo "PEEP_READ_KEY=$PEEP_READ_KEY"
      # A password may hold anything; single quotes keep it from the shell.
      printf "DATABASE_URL='%s'\n" "$DATABASE_URL"
      if [ "$KAFKA" = 1 ]; then
        echo "PEEP_KAFKA_BROKERS=$PEEP_KAFKA_BROKERS"
        echo "PEEP_LOG=kafka"
      fi
    } >"$ENV_FILE.new"
    mv "$ENV_FILE.new" "$ENV_FILE"
  )
}

# --- services ---------------------------------------------------------------------------------------------------------

start_service() {
  local name=$1 subcommand=$1
  if [ "$name" = peep ]; then subcommand=up; fi
  # Settings of the user's own (PEEP_ROLLUP_...) reach the service; what only these scripts understand does not.
  start_process "$name" env -u PEEP_DEV_DIR -u PEEP_CACHE_DIR -u PEEP_URL -u PEEP_INGEST_URL -u PEEP_ADMIN_URL -u PEEP_INGEST_KEY -u PEEP_READ_KEY \
    PEEP_TELEMETRY_FORMAT="${PEEP_TELEMETRY_FORMAT:-text}" NO_COLOR=1 \
    PEEP_INGEST_LISTEN="127.0.0.1:$INGEST_PORT" \
    PEEP_STREAM_LISTEN="127.0.0.1:$STREAM_PORT" \
    PEEP_ADMIN_LISTEN="127.0.0.1:$(admin_port "$name")" \
    "$BIN_DIR/peep" "$subcommand"
}

# Sets STARTED to the number of services that had to be started.
start_stack() {
  local name
  mkdir -p "$RUN_DIR"
  refuse_other_stack
  if any_service_running && [ -n "$(find "$BIN_DIR/peep" -newer "$STACK_FILE" 2>/dev/null)" ]; then
    say "peep was rebuilt; restarting it"
    stop_services
  fi
  require_free_ports
  start_storage
  migrate
  ensure_keys
  remember_stack
  STARTED=0
  for name in $(services); do
    if is_running "$name"; then continue; fi
    start_service "$name"
    STARTED=$((STARTED + 1))
  done
  for name in $(services); do wait_until_ready "$name" "$(admin_port "$name")" 30; done
  write_env_file
}

# Ingest first, so that nothing new arrives; then the rollup, which flushes what it has counted; then the readers.
# 30 s: the longest shutdown in ARCHITECTURE.md and some air.
stop_services() {
  local name
  stop_process demo 5
  for name in peep ingest rollup stream; do stop_process "$name" 30; done
}

stop_stack() {
  stop_services
  # Half-stopped storage helps nobody, and it takes a second or two: no Ctrl-C in here.
  (
    trap '' INT
    stop_storage
  )
  rm -f "$STACK_FILE"
}

# A second Ctrl-C while stopping: end at once. The log and the database are made for it.
kill_services() {
  local name pid
  for name in demo peep ingest rollup stream; do
    if pid=$(running_pid "$name"); then kill -KILL "$pid" 2>/dev/null || true; fi
  done
}

delete_data() {
  local elsewhere
  # Run by root from a folder that the user postgres may not enter, the data lies outside; the place is noted here.
  if [ -f "$DEV_DIR/postgres/elsewhere" ]; then
    elsewhere=$(cat "$DEV_DIR/postgres/elsewhere")
    case $elsewhere in /var/tmp/peep-postgres-*) rm -rf "$elsewhere" ;; esac
  fi
  rm -rf "$DEV_DIR/postgres" "$DEV_DIR/kafka" "$DEV_DIR/keys" "$LOG_DIR" "$RUN_DIR" "$ENV_FILE"
}

# --- status -----------------------------------------------------------------------------------------------------------

status_line() { printf '  %-9s %-10s %s\n' "$1" "$2" "$3"; }

status_of_storage() {
  local name answer result=0 wanted=''
  if [ -z "$GIVEN_DATABASE_URL" ]; then wanted=postgres; else status_line postgres yours "the server behind DATABASE_URL"; fi
  if [ "$KAFKA" = 1 ]; then wanted="$wanted kafka"; fi
  for name in $wanted; do
    if answer=$("$ROOT/scripts/$name.sh" status --dir "$DEV_DIR/$name" 2>&1); then
      status_line "$name" running "${answer#running }"
    else
      status_line "$name" stopped "$answer"
      result=1
    fi
  done
  return "$result"
}

status_of_service() {
  local name=$1 pid answer
  if ! pid=$(running_pid "$name"); then
    status_line "$name" stopped "$(last_words "$name" | tail -n 1)"
    return 1
  fi
  if answer=$(curl -fsS -m 2 "http://127.0.0.1:$(admin_port "$name")/readyz" 2>&1); then
    status_line "$name" ready "pid $pid, ports $(service_ports "$name")"
  else
    answer=$(curl -sS -m 2 "http://127.0.0.1:$(admin_port "$name")/readyz" 2>&1 || true)
    status_line "$name" "not ready" "pid $pid: $answer"
    return 1
  fi
}
