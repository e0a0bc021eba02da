# shellcheck shell=bash disable=SC2034 # colours for whoever sources this
# How the scripts talk: one line per step, two lines per failure (cause, then fix), progress for what takes long.

# Colour only for people: a terminal that has not asked for none.
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  BOLD=$'\033[1m' RED=$'\033[31m' GREEN=$'\033[32m' PLAIN=$'\033[0m'
else
  BOLD='' RED='' GREEN='' PLAIN=''
fi

say() { printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*"; }
note() { printf '    %s\n' "$*"; }
warn() { printf '%swarning:%s %s\n' "$RED" "$PLAIN" "$*" >&2; }

# fail CAUSE [FIX]: the reason and what to do about it, then exit 1.
fail() {
  printf '%serror:%s %s\n' "$RED" "$PLAIN" "$1" >&2
  if [ $# -gt 1 ]; then printf '  fix: %s\n' "$2" >&2; fi
  exit 1
}

# with_progress TEXT LOG COMMAND...: runs the command with its output in LOG and shows that it is alive: a counter on a
# terminal, a line every 15 s elsewhere. When it fails, the end of LOG is shown and its exit status returned.
with_progress() {
  local text=$1 log=$2 started=$SECONDS passed pid status=0
  shift 2
  mkdir -p "$(dirname "$log")"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    passed=$((SECONDS - started))
    if [ -t 1 ]; then
      printf '\r    %s ... %d s ' "$text" "$passed"
    elif [ $((passed % 15)) -eq 14 ]; then
      note "$text ... $passed s"
    fi
    sleep 1
  done
  wait "$pid" || status=$?
  if [ -t 1 ]; then printf '\r'; fi
  if [ "$status" -eq 0 ]; then
    note "$text: done in $((SECONDS - started)) s"
  else
    note "$text: failed; the end of $log:"
    tail -n 20 "$log" | sed 's/^/      /' >&2
  fi
  return "$status"
}
