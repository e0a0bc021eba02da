#!/usr/bin/env bash
# The local stack: dev, up, down, status, logs, reset, demo. `make <command>` calls this; the parts are in scripts/lib/.
set -euo pipefail
COMMAND=${1:-help}
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/ports.sh
. "$LIB/ports.sh"
# shellcheck source=scripts/lib/processes.sh
. "$LIB/processes.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
# shellcheck source=scripts/lib/build.sh
. "$LIB/build.sh"
# shellcheck source=scripts/lib/stack.sh
. "$LIB/stack.sh"
# shellcheck source=scripts/lib/demo.sh
. "$LIB/demo.sh"
# shellcheck source=scripts/lib/follow.sh
. "$LIB/follow.sh"

# What has to be there before anything starts: tools, dashboard, binaries.
prepare() {
  local needs="curl compiler rust node"
  make_log_dir
  if [ -z "$GIVEN_DATABASE_URL" ]; then needs="$needs postgres"; fi
  if [ "$KAFKA" = 1 ]; then needs="$needs kafka"; fi
  # shellcheck disable=SC2086 # a list of words
  require_tools $needs
  # `make test` has built everything already, with the features of the tests.
  if [ "${SKIP_BUILD:-0}" = 1 ]; then return; fi
  build_dashboard
  build_binaries
}

command_up() {
  prepare
  # A start that fails half way leaves nothing behind; a stack that was up before stays.
  if ! any_service_running; then trap 'stop_stack' EXIT; fi
  trap 'exit 130' INT TERM HUP
  start_stack
  trap - EXIT
  if [ "$STARTED" -eq 0 ]; then say "peep is already up"; else start_demo; fi
  print_welcome
  note "make logs follows it, make status shows its health, make down stops it."
}

command_dev() {
  prepare
  if any_service_running; then
    fail "peep is already running from this folder" "make logs follows it; make down stops it"
  fi
  # Whatever happens from here on, including Ctrl-C and a failing start, ends what was started.
  trap 'exit 130' INT TERM HUP
  trap 'end_of_dev' EXIT
  start_stack
  start_demo
  print_welcome
  note "Logs follow. Ctrl-C stops everything."
  # From here on Ctrl-C is the ordinary way out.
  trap 'exit 0' INT
  follow_logs 0
  watch_services
}

end_of_dev() {
  # Whatever fails or is interrupted in here, the rest is still stopped.
  set +e
  trap 'kill_services' INT
  trap '' TERM HUP
  stop_following
  echo
  say "Stopping (Ctrl-C again does not wait)"
  stop_stack
}

command_down() {
  if [ ! -d "$RUN_DIR" ]; then
    say "nothing is running"
    return
  fi
  stop_stack
  say "peep is down; its data stays in $DEV_DIR (make reset deletes it)"
}

command_status() {
  local name healthy=0
  recall_stack || {
    say "peep is not running (make up starts it)"
    return 1
  }
  check_variables
  status_of_storage || healthy=1
  for name in $(services); do
    status_of_service "$name" || healthy=1
  done
  if is_running demo; then status_line demo running "pid $(running_pid demo)"; fi
  return "$healthy"
}

command_logs() {
  if [ ! -d "$LOG_DIR" ]; then fail "there are no logs yet" "make up"; fi
  recall_stack || true
  check_variables
  trap 'stop_following; exit 0' INT TERM HUP
  follow_logs 50
  wait "$FOLLOWER"
}

command_reset() {
  if [ ! -d "$DEV_DIR" ]; then
    say "there is no local data"
    return
  fi
  if [ "${YES:-0}" != 1 ]; then
    if [ ! -t 0 ]; then fail "make reset deletes all local data and there is no terminal to ask on" "make reset YES=1"; fi
    printf 'Delete all local peep data, keys and logs in %s? [y/N] ' "$DEV_DIR"
    read -r answer
    case $answer in y | Y | yes) ;; *) fail "nothing was deleted" "answer y, or run make reset YES=1" ;; esac
  fi
  stop_stack
  delete_data
  say "local data deleted (downloads in $CACHE_DIR stay)"
  if [ -n "${DATABASE_URL:-}" ]; then note "The database behind DATABASE_URL is yours and was not touched."; fi
}

command_demo() {
  if ! recall_stack || ! any_service_running; then fail "peep is not running" "make up"; fi
  check_variables
  run_demo
}

case $COMMAND in
  dev | up)
    check_variables
    "command_$COMMAND"
    ;;
  down | status | logs | reset | demo) "command_$COMMAND" ;;
  *) fail "unknown command $COMMAND" "make help" ;;
esac
