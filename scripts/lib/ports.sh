# shellcheck shell=bash
# Is a port taken, and by whom. Needs no tools beyond bash on Linux, and lsof (part of the system) on macOS.

port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# port_owner PORT: "pid 123 (node)", or "another process" when it belongs to someone whose processes we may not read.
port_owner() {
  local pid='' name
  if [ -r /proc/net/tcp ]; then
    pid=$(listener_pid "$1")
  elif command -v lsof >/dev/null; then
    pid=$(lsof -nP -iTCP:"$1" -sTCP:LISTEN -t 2>/dev/null | head -n 1 || true)
  fi
  if [ -z "$pid" ]; then
    echo "another process"
    return
  fi
  name=$(ps -o comm= -p "$pid" 2>/dev/null || cat "/proc/$pid/comm" 2>/dev/null || true)
  echo "pid $pid (${name:-unknown})"
}

# The kernel's table names the socket's inode (state 0A is LISTEN); the owner is the process that has it open.
listener_pid() {
  local hex inode link
  hex=$(printf '%04X' "$1")
  # shellcheck disable=SC2013 # numbers
  for inode in $(awk -v port="$hex" '$4 == "0A" { n = split($2, a, ":"); if (a[n] == port) print $10 }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null); do
    for link in /proc/[0-9]*/fd/*; do
      if [ "$(readlink "$link" 2>/dev/null)" = "socket:[$inode]" ]; then
        link=${link#/proc/}
        echo "${link%%/*}"
        return
      fi
    done
  done
}

# require_free_port PORT: fails with the owner and the way out.
require_free_port() {
  if port_in_use "$1"; then
    fail "port $1 is in use by $(port_owner "$1")" "stop it, or run \`make $COMMAND PORT_OFFSET=$((PORT_OFFSET + 100))\`"
  fi
}
