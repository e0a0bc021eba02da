#!/usr/bin/env bash
# A real nginx, with peep.conf and with the module, tells a peep of its own what it has served, to the request: over hostile
# clients, HTTP/2, upstreams that fail, reloads, rotations, killed workers, its end, and a shipper that is frozen or away. Part of
# `make test`. Expects the binaries of PROFILE to be built; builds the module.
set -euo pipefail
COMMAND=nginx
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
# shellcheck source=scripts/lib/suite.sh
. "$LIB/suite.sh"
# shellcheck source=scripts/lib/build.sh
. "$LIB/build.sh"
# shellcheck source=scripts/lib/private_stack.sh
. "$LIB/private_stack.sh"
cd "$ROOT"

PATH=$PATH:/usr/sbin:/sbin
WRONG=0

expect() { # WHAT WANTED FOUND
  if [ "$3" = "$2" ]; then
    note "ok      $1"
  else
    WRONG=1
    printf '    NOT OK  %s\n--- wanted\n%s\n--- found\n%s\n' "$1" "$2" "$3"
  fi
}

# expect_soon WHAT WANTED COMMAND...: as soon as it is so, or what it is after 20 s.
expect_soon() {
  local what=$1 wanted=$2 found deadline=$((SECONDS + 20))
  shift 2
  while true; do
    found=$("$@" || true)
    if [ "$found" = "$wanted" ] || [ "$SECONDS" -ge "$deadline" ]; then break; fi
    sleep 0.2
  done
  expect "$what" "$wanted" "$found"
}

# rows SERVICE [GROUP]: "<route> <method> <status> <count> timed" of each series, sorted; with GROUP, what that says.
rows() {
  curl -sS -m 10 -H "Authorization: Bearer $PEEP_READ_KEY" \
    "$PEEP_URL/v1/summary?from=-1h&to=now&service=$1&group_by=${2:-route,method,status}" |
    node -e 'for (const row of JSON.parse(require("fs").readFileSync(0)).rows)
      console.log([row.route, row.method, row.status, row.count, row.latency_count === row.count ? "timed" : "untimed"]
        .filter((word) => word != null).join(" "))' | LC_ALL=C sort
}

# count SERVICE ROUTE: events of one route.
count() { rows "$1" route | awk -v route="$2" '$1 == route { found = $2 } END { print found + 0 }'; }

# total SERVICE: all of its events.
total() { rows "$1" method | awk '{ found += $2 } END { print found + 0 }'; }

# --- nginx ------------------------------------------------------------------------------------------------------------

start_nginx() {
  WEB=$DEV_DIR/web
  mkdir -p "$WEB/html"
  head -c 6000 /dev/zero | tr '\0' x >"$WEB/html/slow"
  echo part >"$WEB/html/parts.html"
  sed "s|/var/log/nginx/|$WEB/web.|" nginx-module/peep.conf >"$WEB/peep.conf"
  # The services: web, odd and hostile, from the names of the logs; module, odd-module and so on, as the module says it.
  cat >"$WEB/nginx.conf" <<CONF
load_module $MODULE;
worker_processes 2;
daemon off;
pid $WEB/nginx.pid;
error_log $WEB/error.log warn;
events { worker_connections 256; }
http {
  client_body_temp_path $WEB/body;
  proxy_temp_path $WEB/proxy;
  fastcgi_temp_path $WEB/fastcgi;
  uwsgi_temp_path $WEB/uwsgi;
  scgi_temp_path $WEB/scgi;
  include $WEB/peep.conf;
  peep_socket $WEB/peep.sock;
  peep on;
  peep_service module;
  keepalive_requests 100000;
  server {
    listen unix:$WEB/shop.sock;
    root $WEB/html;
    location /orders/ { peep_route "/orders/{number}"; return 200 "hi"; }
    location /missing { return 404; }
    location /broken { return 502; }
    location /reload { return 200 "hi"; }
    location /away { return 200 "hi"; }
    location /rotated { return 200 "hi"; }
    location /killed { return 200 "hi"; }
    location /again { return 200 "hi"; }
    location /frozen { peep_service frozen-module; return 200 "hi"; }
    location /quiet { peep off; return 204; }
    location /slow { limit_rate 2k; }
  }
  server {
    listen unix:$WEB/hostile.sock;
    access_log $WEB/hostile.access.peep.log peep buffer=64k flush=1s;
    peep_service hostile-module;
    large_client_header_buffers 4 16k;
    location / { return 200 "hi"; }
  }
  upstream retried { server unix:$WEB/nobody.sock max_fails=0; server unix:$WEB/back.sock; }
  server {
    listen unix:$WEB/odd.sock;
    listen unix:$WEB/http2.sock http2;
    access_log $WEB/odd.access.peep.log peep buffer=64k flush=1s;
    peep_service odd-module;
    root $WEB/html;
    location = /here { return 200 "hi"; }
    location /moved { rewrite ^ /here last; }
    location /page { error_page 404 /here; return 404; }
    location = /parts.html { add_before_body /here; add_after_body /here; }
    location /guarded/ { auth_request /here; alias $WEB/html/; }
    location /mirrored/ { mirror /here; alias $WEB/html/; }
    location /retried { proxy_pass http://retried; }
    location /refused { proxy_pass http://unix:$WEB/nobody.sock:/; }
    location /abandoned { proxy_pass http://unix:$WEB/back.sock:/never; }
    location /multiplexed { return 200 "hi"; }
  }
  server {
    listen unix:$WEB/back.sock;
    access_log off;
    peep off;
    location / { return 200 "back"; }
    # An answer that does not come.
    location /never { auth_delay 60s; auth_basic never; auth_basic_user_file $WEB/nobody; }
  }
}
CONF
  nginx -t -q -p "$WEB" -c "$WEB/nginx.conf" || fail "nginx does not take the module" "what it said is above"
  run_nginx
}

run_nginx() {
  nginx -p "$WEB" -c "$WEB/nginx.conf" 2>>"$WEB/stderr.log" &
  NGINX_PID=$!
  until [ -S "$WEB/back.sock" ] && [ -n "$(pgrep -P "$NGINX_PID")" ]; do
    kill -0 "$NGINX_PID" 2>/dev/null || fail "nginx does not start: $(cat "$WEB/stderr.log" "$WEB/error.log")"
    sleep 0.1
  done
}

# get PATH [OPTION...]: requests it, or all that a range in it makes, and says how many were answered, by status: "200 300".
get() {
  local path=$1
  shift
  get_from shop "$path" "$@"
}

# get_from SOCKET PATH [OPTION...]: the same of another server.
get_from() {
  local socket=$1 path=$2
  shift 2
  # A connection that a reload has closed is opened anew, and the request on it, which was not served, sent again.
  curl -sS -m 60 --unix-socket "$WEB/$socket.sock" -o /dev/null -w '%{http_code}\n' "$@" "http://shop$path" | sort | uniq -c |
    awk '{ print $2, $1 }'
}

# --- the shipper ------------------------------------------------------------------------------------------------------

start_shipper() {
  "$BIN_DIR/peep" ship --follow --from-start --state "$DEV_DIR/ship" --nginx "unix:$WEB/peep.sock" \
    --admin "127.0.0.1:$SHIP_PORT" "$WEB/*.access.peep.log" >>"$LOG_DIR/ship.log" 2>&1 &
  SHIP_PID=$!
  until curl -fsS -m 2 -o /dev/null "http://127.0.0.1:$SHIP_PORT/readyz" 2>/dev/null; do
    kill -0 "$SHIP_PID" 2>/dev/null || fail "the shipper does not start: $(cat "$LOG_DIR/ship.log")"
    sleep 0.1
  done
}

stop_shipper() {
  local status=0
  kill -TERM "$SHIP_PID"
  wait "$SHIP_PID" || status=$?
  SHIP_PID=''
  expect "the shipper ends with its books in order" 0 "$status"
}

metric() {
  curl -sS -m 10 "http://127.0.0.1:$SHIP_PORT/metrics" | awk -v name="$1" '$1 == name { found = $2 } END { print found + 0 }'
}

stop_all() {
  local pid
  for pid in ${NGINX_PID:-} ${SHIP_PID:-}; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  remove_private_stack
}

# --- the cases --------------------------------------------------------------------------------------------------------

each_request_is_one_event() {
  expect "300 orders are served" "200 300" "$(get '/orders/[1001-1300]')"
  expect "40 misses" "404 40" "$(get '/missing?token=[1-40]')"
  expect "20 failures" "502 20" "$(get '/broken?n=[1-20]' -X POST)"
  expect "25 requests of which the module says nothing" "204 25" "$(get '/quiet?n=[1-25]')"
  expect_soon "by the log" $'/broken POST 502 20 timed\n/missing GET 404 40 timed\n/orders/{id} GET 200 300 timed\n/quiet GET 204 25 timed' \
    rows web
  expect_soon "by the module" $'/broken POST 502 20 timed\n/missing GET 404 40 timed\n/orders/{number} GET 200 300 timed' rows module
}

hostile_clients_break_no_line() {
  local wanted
  node scripts/nginx/hostile.mjs "$WEB/hostile.sock" >"$DEV_DIR/statuses"
  wanted=$(LC_ALL=C sort "$DEV_DIR/statuses" | uniq -c | awk '{ print $2, $1, "timed" }')
  note "answered: $(sort "$DEV_DIR/statuses" | uniq -c | xargs)"
  expect_soon "hostile requests by the log" "$wanted" rows hostile status
  expect_soon "hostile requests by the module" "$wanted" rows hostile-module status
  expect "both say the same of each route and method" '' "$(diff <(rows hostile) <(rows hostile-module) || true)"
  expect "each is a line of its own, and JSON" "$(wc -l <"$DEV_DIR/statuses") of the same keys" "$(
    # Byte by byte: nginx passes on what is no UTF-8.
    node -e '
      const lines = require("fs").readFileSync(process.argv[1], "latin1").split("\n").slice(0, -1);
      const keys = new Set(lines.map((line) => Object.keys(JSON.parse(line)).join()));
      console.log(`${lines.length} of ${keys.size === 1 ? "the same keys" : [...keys].join("; ")}`);
    ' "$WEB/hostile.access.peep.log"
  )"
  expect "the shipper understands each" 0 "$(metric 'peep_ship_lines_total{outcome="malformed"}')"
}

# Whatever nginx does inside, a client has asked once.
each_client_asked_once() {
  local wanted path
  for path in moved page parts.html guarded/parts.html mirrored/parts.html retried refused; do
    get_from odd "/$path?n=[1-10]" >>"$DEV_DIR/odd"
  done
  expect "70 odd requests are answered" $'200 10\n404 10\n200 10\n200 10\n200 10\n200 10\n502 10' "$(cat "$DEV_DIR/odd")"
  for _ in 1 2 3; do
    curl -sS -m 0.3 --unix-socket "$WEB/odd.sock" -o /dev/null http://shop/abandoned 2>/dev/null || true
  done
  expect "200 requests over one connection of HTTP/2, and five more that are taken back" "200 200" \
    "$(node scripts/nginx/http2.mjs "$WEB/http2.sock")"
  wanted=$(
    cat <<'ROWS'
/abandoned GET 499 8 timed
/guarded/parts.html GET 200 10 timed
/mirrored/parts.html GET 200 10 timed
/moved GET 200 10 timed
/multiplexed GET 200 200 timed
/page GET 404 10 timed
/parts.html GET 200 10 timed
/refused GET 502 10 timed
/retried GET 200 10 timed
ROWS
  )
  expect_soon "by the log" "$wanted" rows odd
  expect_soon "by the module" "$wanted" rows odd-module
}

a_rotation_loses_nothing() {
  local part pids=() number log=$WEB/web.access.peep.log
  for part in 1 2; do
    get "/rotated?part=$part&n=[1-1500]" >"$DEV_DIR/rotated.$part" &
    pids+=($!)
  done
  for part in 1 2 3; do
    sleep 0.1
    for number in 2 1; do if [ -e "$log.$number" ]; then mv "$log.$number" "$log.$((number + 1))"; fi; done
    mv "$log" "$log.1"
    kill -USR1 "$NGINX_PID"
  done
  wait "${pids[@]}"
  expect "3000 requests are served over three rotations" $'200 1500\n200 1500' "$(cat "$DEV_DIR"/rotated.*)"
  expect_soon "by the log" 3000 count web /rotated
  expect_soon "by the module" 3000 count module /rotated
}

# Long paths, so that the socket is full after a few requests: a worker that waited for it would serve no more.
a_frozen_shipper_holds_nobody_up() {
  local long
  long=$(head -c 900 /dev/zero | tr '\0' x)
  kill -STOP "$SHIP_PID"
  expect "3000 requests while the shipper is frozen" "200 3000" "$(get "/frozen/$long?n=[1-3000]")"
  kill -CONT "$SHIP_PID"
  expect_soon "the log has them all" 3000 frozen_by_the_log
  # What was dropped is told without further requests.
  expect_soon "the module's are arrived or counted" 3000 frozen_in_all
  expect "some were dropped" yes "$([ "$(metric peep_ship_nginx_events_dropped_total)" -gt 0 ] && echo yes)"
}
frozen_by_the_log() { rows web route | awk '$1 ~ "^/frozen" { found += $2 } END { print found + 0 }'; }
frozen_in_all() { echo $(($(metric peep_ship_nginx_events_dropped_total) + $(total frozen-module))); }

a_killed_worker_is_replaced() {
  local before
  expect "300 requests" "200 300" "$(get '/killed?n=[1-300]')"
  expect_soon "by the log" 300 count web /killed
  expect_soon "by the module" 300 count module /killed
  before=$(pgrep -P "$NGINX_PID" | sort)
  # shellcheck disable=SC2086 # a list of process numbers
  kill -9 $before
  until [ "$(pgrep -P "$NGINX_PID" | sort | comm -13 <(echo "$before") - | wc -l)" -ge 2 ]; do sleep 0.05; done
  expect "300 requests of new workers" "200 300" "$(get '/killed?n=[1-300]')"
  expect_soon "by the log" 600 count web /killed
  expect_soon "by the module" 600 count module /killed
}

a_reload_loses_nothing() {
  local part pids=()
  for part in 1 2 3; do
    get "/reload?part=$part&n=[1-1500]" >"$DEV_DIR/reload.$part" &
    pids+=($!)
  done
  for part in 1 2 3; do
    sleep 0.1
    kill -HUP "$NGINX_PID"
  done
  wait "${pids[@]}"
  expect "4500 requests are served over three reloads" $'200 1500\n200 1500\n200 1500' "$(cat "$DEV_DIR"/reload.*)"
  expect_soon "by the log" 4500 count web /reload
  expect_soon "by the module" 4500 count module /reload
}

# What the module cannot deliver is counted, and a worker that ends still tells it.
a_shipper_that_is_away_is_told_what_it_missed() {
  stop_shipper
  expect "120 requests without a shipper" "200 120" "$(get '/away?n=[1-120]')"
  # A worker sends after 100 ms at most, to nobody. It does not say so each time, so there is nothing to wait for.
  sleep 2
  start_shipper
  kill -HUP "$NGINX_PID"
  expect_soon "the log has them all" 120 count web /away
  expect_soon "the module's are arrived or counted" 120 away_in_all
  expect "some were dropped" yes "$([ "$(metric peep_ship_nginx_events_dropped_total)" -gt 0 ] && echo yes)"
}
away_in_all() { echo $(($(metric peep_ship_nginx_events_dropped_total) + $(count module /away))); }

the_end_loses_nothing() {
  local slow
  get /slow >"$DEV_DIR/slow" &
  slow=$!
  # It takes two seconds; asked to go in the middle, nginx serves it to its end.
  sleep 0.5
  kill -QUIT "$NGINX_PID"
  wait "$slow"
  wait "$NGINX_PID" || true
  NGINX_PID=''
  expect "the last request is served" "200 1" "$(cat "$DEV_DIR/slow")"
  expect_soon "by the log" 1 count web /slow
  expect_soon "by the module" 1 count module /slow
}

a_restart_goes_on() {
  run_nginx
  expect "50 requests of a new nginx" "200 50" "$(get '/again?n=[1-50]')"
  expect_soon "by the log" 50 count web /again
  expect_soon "by the module" 50 count module /again
}

if ! have_nginx_dev; then
  echo "no Debian nginx-dev here to build the module against"
  exit "$SKIP_STATUS"
fi
make_log_dir
build_nginx_module
private_stack
mkdir -p "$LOG_DIR"
# Commits show up faster than by default; everything else is as it is.
export PEEP_ROLLUP_FLUSH_INTERVAL=500ms
private_stack_up
trap stop_all EXIT
# Where a Prometheus would be, which this stack has not.
SHIP_PORT=$((9090 + PORT_OFFSET))

start_nginx
start_shipper
each_request_is_one_event
hostile_clients_break_no_line
each_client_asked_once
a_reload_loses_nothing
a_rotation_loses_nothing
expect "until now nginx has dropped nothing" 0 "$(metric peep_ship_nginx_events_dropped_total)"
a_frozen_shipper_holds_nobody_up
# New workers, which have dropped nothing yet.
a_killed_worker_is_replaced
a_shipper_that_is_away_is_told_what_it_missed
the_end_loses_nothing
a_restart_goes_on
expect "and nothing got lost on the way" 0 "$(metric peep_ship_nginx_events_missing_total)"
expect "no worker fell of itself" '' \
  "$(grep -E 'exited on signal|panick' "$WEB/error.log" "$WEB/stderr.log" | grep -v 'exited on signal 9' || true)"
stop_shipper
if [ "$WRONG" -ne 0 ]; then
  tail -n 20 "$WEB/error.log" "$LOG_DIR/ship.log"
fi
exit "$WRONG"
