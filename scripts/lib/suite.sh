# shellcheck shell=bash
# Steps with a verdict each, and one summary at the end. A failed step does not stop the ones after it.

PASSED=0
FAILED=''
SKIPPED=''
# A step's way to say "I could not judge this": an exit status that nothing else uses here.
SKIP_STATUS=77

# skip REASON: ends the current step, visibly, neither passed nor failed.
skip() {
  echo "SKIPPED: $1"
  exit "$SKIP_STATUS"
}

# step NAME COMMAND...: output goes to the terminal as it comes.
step() {
  local name=$1 started=$SECONDS status=0
  shift
  say "$name"
  # A subshell with errexit of its own: in `step || ...` bash would ignore every failure but the last.
  set +e
  (
    set -e
    "$@"
  )
  status=$?
  set -e
  case $status in
    0)
      PASSED=$((PASSED + 1))
      note "${GREEN}passed${PLAIN} in $((SECONDS - started)) s"
      ;;
    "$SKIP_STATUS")
      SKIPPED="$SKIPPED
  skipped: $name"
      ;;
    *)
      FAILED="$FAILED
  failed: $name"
      note "${RED}FAILED${PLAIN} after $((SECONDS - started)) s (exit status $status)"
      ;;
  esac
}

# beside NAME COMMAND...: starts a step that runs beside the next ones; `joined` waits for it and shows it as any other. For what waits most of
# its time, and judges by counts and not by the clock.
BESIDE=() BESIDE_PIDS=()
beside() {
  local name=$1 log
  trap 'stop_beside' EXIT
  trap 'exit 130' INT TERM HUP
  log=$LOG_DIR/beside-${#BESIDE[@]}.log
  shift
  BESIDE+=("$name")
  rm -f "$log" "$log.status"
  say "$name (beside the next ones)"
  # A process group of its own, which can be ended as a whole.
  set -m
  (
    set +e
    (
      set -e
      "$@"
    ) >"$log" 2>&1
    echo "$?" >"$log.status"
  ) </dev/null &
  BESIDE_PIDS+=("$!")
  set +m
}

# Whoever interrupts `make test` does not leave them behind.
stop_beside() {
  local pid
  for pid in ${BESIDE_PIDS[@]+"${BESIDE_PIDS[@]}"}; do kill -TERM -- "-$pid" 2>/dev/null || true; done
}

joined() {
  local index
  for index in "${!BESIDE[@]}"; do
    step "${BESIDE[index]}" shown_when_over "$LOG_DIR/beside-$index.log" "${BESIDE_PIDS[index]}"
  done
  BESIDE=() BESIDE_PIDS=()
}

shown_when_over() { # LOG PID
  while kill -0 "$2" 2>/dev/null; do sleep 1; done
  cat "$1"
  # Without a status it was killed.
  return "$(cat "$1.status" 2>/dev/null || echo 1)"
}

# summary: the closing line; exits with the verdict.
summary() {
  local failures
  failures=$(printf '%s' "$FAILED" | grep -c 'failed:' || true)
  printf '\n%smake %s: %d passed, %d failed%s%s\n' "$BOLD" "$COMMAND" "$PASSED" "$failures" "$PLAIN" "$SKIPPED$FAILED"
  [ -z "$FAILED" ]
}
