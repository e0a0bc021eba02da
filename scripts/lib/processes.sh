# shellcheck shell=bash
# Background processes with a pid file each: `<pid> <start time>`. The start time makes a reused pid harmless: only a
# process that we started ourselves is ever taken for ours, or stopped.

pid_file() { echo "$RUN_DIR/$1.pid"; }
log_file() { echo "$LOG_DIR/$1.log"; }

# start_time PID: something that differs between two processes that had the same pid; empty when there is none.
start_time() {
  local stat
  if [ -d /proc/self ]; then
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    # Field 22, counted behind the command name, which may itself contain blanks and parentheses.
    stat=${stat##*) }
    # A process that has ended and waits to be collected is gone.
    case $stat in Z*) return 0 ;; esac
    echo "$stat" | cut -d ' ' -f 20
  else
    ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' '_' || true
  fi
}

# running_pid NAME: prints the pid while the process we started under this name lives; else fails.
running_pid() {
  local file pid started
  file=$(pid_file "$1")
  [ -f "$file" ] || return 1
  read -r pid started <"$file" || true
  [ -n "${started:-}" ] && [ "$(start_time "$pid")" = "$started" ] || return 1
  echo "$pid"
}

is_running() { running_pid "$1" >/dev/null; }

# start_process NAME COMMAND...: detached, in a process group of its own (a Ctrl-C in this terminal is not for it).
# The log of the run before is kept as NAME.log.1.
start_process() {
  local name=$1 pid log
  shift
  mkdir -p "$RUN_DIR" "$LOG_DIR"
  log=$(log_file "$name")
  if [ -s "$log" ]; then mv -f "$log" "$log.1"; fi
  set -m
  nohup "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  set +m
  echo "$pid $(start_time "$pid")" >"$(pid_file "$name")"
}

# stop_process NAME SECONDS: asks, waits, and only then insists.
stop_process() {
  local name=$1 seconds=$2 pid waited=0
  if ! pid=$(running_pid "$name"); then
    rm -f "$(pid_file "$name")"
    return 0
  fi
  kill -TERM "$pid" 2>/dev/null || true
  while is_running "$name"; do
    if [ "$waited" -ge $((seconds * 10)) ]; then
      warn "$name (pid $pid) did not stop within $seconds s and is killed; see $(log_file "$name")"
      kill -KILL "$pid" 2>/dev/null || true
      break
    fi
    sleep 0.1
    waited=$((waited + 1))
  done
  rm -f "$(pid_file "$name")"
  note "$name stopped"
}

# last_words NAME: why a process ended, from its log, in at most three lines.
last_words() { grep -v '^[[:space:]]*$' "$(log_file "$1")" 2>/dev/null | tail -n 3 | cut -c 1-300; }

# wait_until_ready NAME ADMIN_PORT SECONDS: until /readyz answers 200; fails at once when the process has ended.
wait_until_ready() {
  local name=$1 port=$2 seconds=$3 deadline answer
  deadline=$((SECONDS + seconds))
  until answer=$(curl -fsS -m 2 "http://127.0.0.1:$port/readyz" 2>&1); do
    if ! is_running "$name"; then
      fail "$name stopped while starting: $(last_words "$name")" "the whole log is $(log_file "$name")"
    fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      answer=$(curl -sS -m 2 "http://127.0.0.1:$port/readyz" 2>&1 || true)
      fail "$name is not ready after $seconds s: ${answer:-no answer on port $port}" "the whole log is $(log_file "$name")"
    fi
    sleep 0.1
  done
}
