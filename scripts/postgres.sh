#!/usr/bin/env bash
# A private Postgres: for `make dev`, for the tests, and for nothing else.
#
#   postgres.sh start    --dir D [--port P] [--fresh] [--fast] [--while-locked FILE]   prints DATABASE_URL
#   postgres.sh database --dir D --name N                                              creates it if missing, prints its URL
#   postgres.sh stop     --dir D [--kill]
#   postgres.sh status   --dir D | --binaries
#   postgres.sh install
#
# Everything lies under D: data, password (mode 0600), log. Without --port a free one is chosen at each start. Calling start or stop
# twice is harmless. The server listens on 127.0.0.1 only and asks for the password even there.
# --fresh          delete the data first (not when the server already runs)
# --fast           no fsync: for tests, where a crash of the machine may cost the data
# --while-locked   stop 60 s after the last process has let go of FILE, see lib/servers.sh
# Run by root, the server runs as the user postgres, because Postgres refuses to run as root.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$HERE/lib/say.sh"
# shellcheck source=scripts/lib/ports.sh
. "$HERE/lib/ports.sh"
# shellcheck source=scripts/lib/servers.sh
. "$HERE/lib/servers.sh"

# The oldest version with everything peep uses (detaching partitions concurrently).
MAJOR_MIN=14
# Seconds without a user before a --while-locked server stops: longer than linking the next test binary.
UNUSED_SECONDS=60

# The newest installation wins; Debian and Ubuntu keep several side by side and outside of PATH.
find_binaries() {
  local dir
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin | sort -rV) \
    "$(dirname "$(command -v initdb || echo /nowhere/initdb)")"; do
    if [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ] && [ -x "$dir/postgres" ] && [ "$(major_of "$dir")" -ge "$MAJOR_MIN" ]; then
      echo "$dir"
      return
    fi
  done
  return 1
}

major_of() { "$1/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/'; }

require_binaries() {
  BIN=$(find_binaries) ||
    fail "no PostgreSQL server programs (initdb, pg_ctl, postgres) of version $MAJOR_MIN or newer found" \
      "Debian/Ubuntu: apt-get install postgresql   macOS: brew install postgresql@17   or set DATABASE_URL to a server you have"
}

# Postgres refuses uid 0. The directory change is for a caller whose own directory the other user may not enter.
as_server() {
  if [ "$(id -u)" -ne 0 ]; then
    "$@"
  elif command -v runuser >/dev/null; then
    (cd / && runuser -u postgres -- "$@")
  else
    (cd / && setpriv --reuid=postgres --regid=postgres --init-groups -- "$@")
  fi
}

# Where the data lies: under D, unless the server's user cannot get there (a checkout in /root); then under /var/tmp, with a
# note of the place in D.
locate() {
  mkdir -p "$DIR"
  if [ -f "$DIR/elsewhere" ]; then
    HOME_DIR=$(cat "$DIR/elsewhere")
  elif [ "$(id -u)" -eq 0 ] && ! as_server test -x "$DIR" 2>/dev/null; then
    HOME_DIR=/var/tmp/peep-postgres-$(printf '%s' "$DIR" | cksum | cut -d ' ' -f 1)
    echo "$HOME_DIR" >"$DIR/elsewhere"
  else
    HOME_DIR=$DIR
  fi
  DATA=$HOME_DIR/data
}

running() { [ -f "$DATA/PG_VERSION" ] && as_server "$BIN/pg_ctl" status -D "$DATA" >/dev/null 2>&1; }

url() { echo "postgres://peep:$(cat "$DIR/password")@127.0.0.1:$(cat "$DIR/port")/$1"; }

ask() { PGPASSWORD=$(cat "$DIR/password") "$(command -v psql || echo "$BIN/psql")" -qtAX -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(cat "$DIR/port")" -U peep "$@"; }

create_cluster() {
  mkdir -p "$HOME_DIR"
  (umask 077 && LC_ALL=C tr -dc 'a-zA-Z0-9' </dev/urandom | head -c 32 >"$DIR/password") || true
  local password_file=$DIR/password no_sync=''
  if [ "$(id -u)" -eq 0 ]; then
    # A copy that the server's user may read, only as long as initdb runs.
    password_file=$HOME_DIR/password.initdb
    (umask 077 && cp "$DIR/password" "$password_file")
    chown postgres "$password_file"
    mkdir -p "$DATA"
    chown -R postgres "$DATA"
  fi
  if flag --fast "$@"; then no_sync=--no-sync; fi
  # Locale C: the same order of text on every machine, and index scans for prefixes.
  # shellcheck disable=SC2086 # empty or one flag
  if ! as_server "$BIN/initdb" -D "$DATA" -U peep --pwfile="$password_file" --auth=scram-sha-256 --encoding=UTF8 --locale=C \
    --data-checksums $no_sync >"$DIR/initdb.log" 2>&1; then
    if [ "$password_file" != "$DIR/password" ]; then rm -f "$password_file"; fi
    fail "initdb failed: $(tail -n 1 "$DIR/initdb.log")" "the whole output is in $DIR/initdb.log"
  fi
  if [ "$password_file" != "$DIR/password" ]; then rm -f "$password_file"; fi
  echo "include_if_exists = 'peep.conf'" | as_server tee -a "$DATA/postgresql.conf" >/dev/null
}

configure() {
  {
    echo "listen_addresses = '127.0.0.1'"
    echo "port = $(cat "$DIR/port")"
    # Everything goes over TCP: socket paths have a limit of 107 bytes, which a deep checkout exceeds.
    echo "unix_socket_directories = ''"
    echo "max_connections = 200"
    echo "max_wal_size = 2GB"
    if flag --fast "$@"; then
      echo "fsync = off"
      echo "full_page_writes = off"
      echo "shared_buffers = 64MB"
    fi
  } | as_server tee "$DATA/peep.conf" >/dev/null
}

launch() {
  # The server writes its log itself, so the file must be its own.
  if ! as_server "$BIN/pg_ctl" start -w -t 60 -D "$DATA" -l "$HOME_DIR/data/server.log" >"$DIR/start.log" 2>&1; then
    # pg_ctl's output ends with advice to read the log; the log's last FATAL says why.
    local why
    why=$(as_server grep -h -E 'FATAL|PANIC' "$DATA/server.log" 2>/dev/null | tail -n 1 || true)
    fail "Postgres did not start: ${why:-$(tail -n 1 "$DIR/start.log")}" "the whole log is $DATA/server.log"
  fi
}

start() {
  require_binaries
  if [ "$(id -u)" -eq 0 ] && ! id postgres >/dev/null 2>&1; then
    fail "root cannot run Postgres, and there is no user postgres" "useradd --system --home /nonexistent postgres"
  fi
  locate
  if ! running; then
    if flag --fresh "$@"; then rm -rf "$DATA"; fi
    if [ -f "$DATA/PG_VERSION" ] && [ "$(cat "$DATA/PG_VERSION")" != "$(major_of "$BIN")" ]; then
      fail "the data in $DATA is of Postgres $(cat "$DATA/PG_VERSION"), but Postgres $(major_of "$BIN") is installed" \
        "install the older one again, or delete the local data with \`make reset\`"
    fi
    # A half-made cluster (killed during initdb) has no version file yet or never started: begin again.
    if [ ! -f "$DATA/peep.conf" ]; then
      rm -rf "$DATA"
      create_cluster "$@"
    fi
    local port
    port=$(option --port "$@")
    if [ -n "$port" ]; then require_unused "$port"; fi
    echo "${port:-$(free_port)}" >"$DIR/port"
    configure "$@"
    launch
    local file
    file=$(option --while-locked "$@")
    if [ -n "$file" ]; then stop_when_unused "$file" "$UNUSED_SECONDS" "$HERE/postgres.sh" stop --dir "$DIR"; fi
  fi
  database peep
}

# database NAME: create it unless it exists, print its URL.
database() {
  case $1 in '' | *[!a-z0-9_]*) fail "database name '$1' is not made of a-z, 0-9 and _" ;; esac
  if [ "$(ask -d postgres -c "select 1 from pg_database where datname = '$1'")" != 1 ]; then
    # Somebody else may be quicker; what counts is that it exists afterwards.
    ask -d postgres -c "create database $1" 2>/dev/null || ask -d "$1" -c "select 1" >/dev/null
  fi
  url "$1"
}

stop() {
  require_binaries
  if [ ! -d "$DIR" ]; then return 0; fi
  locate
  if ! running; then return 0; fi
  if flag --kill "$@"; then
    as_server "$BIN/pg_ctl" stop -w -t 10 -m immediate -D "$DATA" >"$DIR/stop.log" 2>&1 || true
  else
    # "fast" ends sessions and writes a checkpoint; when that takes too long, the next start recovers instead.
    as_server "$BIN/pg_ctl" stop -w -t 30 -m fast -D "$DATA" >"$DIR/stop.log" 2>&1 ||
      as_server "$BIN/pg_ctl" stop -w -t 10 -m immediate -D "$DATA" >>"$DIR/stop.log" 2>&1 || true
  fi
  if running; then fail "Postgres in $DATA did not stop: $(tail -n 1 "$DIR/stop.log")"; fi
}

status() {
  if flag --binaries "$@"; then
    find_binaries
    return
  fi
  require_binaries
  if [ -d "$DIR" ]; then
    locate
    if running; then
      echo "running on port $(cat "$DIR/port")"
      return
    fi
  fi
  echo "stopped"
  return 3
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "installing packages needs root, and there is no sudo" "run as root: $*"
  fi
}

install() {
  if find_binaries >/dev/null; then return; fi
  if command -v apt-get >/dev/null; then
    # Debian's package also creates and starts a server on port 5432, which nobody asked for.
    local conf=/etc/postgresql-common/createcluster.conf
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql-common
    if [ -f "$conf" ] && ! ls /etc/postgresql/*/main >/dev/null 2>&1; then
      as_root sed -i.before-peep 's/^#* *create_main_cluster *=.*/create_main_cluster = false/' "$conf"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql
    if [ -f "$conf.before-peep" ]; then as_root mv "$conf.before-peep" "$conf"; fi
  elif command -v brew >/dev/null; then
    brew install postgresql@17
  else
    fail "neither apt-get nor brew is here" "install a PostgreSQL server of version $MAJOR_MIN or newer by hand"
  fi
  require_binaries
}

usage() { sed -n '4,8s/^# *//p' "${BASH_SOURCE[0]}" >&2; }

COMMAND=${1:-}
shift || true
DIR=$(option --dir "$@")
if [ -n "$DIR" ]; then DIR=$(absolute "$DIR"); fi
case $COMMAND in
  start | stop | database)
    if [ -z "$DIR" ]; then
      usage
      fail "$COMMAND needs --dir"
    fi
    ;;
  status)
    if [ -z "$DIR" ] && ! flag --binaries "$@"; then
      usage
      fail "status needs --dir or --binaries"
    fi
    ;;
esac
case $COMMAND in
  start) start "$@" ;;
  stop) stop "$@" ;;
  database)
    require_binaries
    locate
    database "$(option --name "$@")"
    ;;
  status) status "$@" ;;
  install) install ;;
  *)
    usage
    fail "unknown command '$COMMAND'"
    ;;
esac
