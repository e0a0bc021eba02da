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

# summary: the closing line; exits with the verdict.
summary() {
  local failures
  failures=$(printf '%s' "$FAILED" | grep -c 'failed:' || true)
  printf '\n%smake %s: %d passed, %d failed%s%s\n' "$BOLD" "$COMMAND" "$PASSED" "$failures" "$PLAIN" "$SKIPPED$FAILED"
  [ -z "$FAILED" ]
}
