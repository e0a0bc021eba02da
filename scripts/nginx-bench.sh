#!/usr/bin/env bash
# make nginx-bench: how much throughput nginx loses by telling peep of each request, with peep.conf and with the module, against the
# same nginx that tells nobody; beside them nginx's own combined log, which asks nothing of peep. Runs of wrk, in an order that changes
# from round to round, show what a saturated nginx serves; then turns of some milliseconds each, which decide, because they see the
# same machine: what the worker's CPU time leaves of what it can serve (scripts/nginx/ratios.mjs). A quiet machine with two cores:
# nginx has one, everything else the other.
#
#   ROUNDS=9        rounds of wrk, of one run for each variant (default 9)
#   SECONDS_EACH=4  seconds of a run (default 4)
#   TURNS=600       rounds of turns (default 600)
set -euo pipefail
COMMAND=nginx-bench
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
# shellcheck source=scripts/lib/build.sh
. "$LIB/build.sh"
cd "$ROOT"

PATH=$PATH:/usr/sbin:/sbin
ROUNDS=${ROUNDS:-9} SECONDS_EACH=${SECONDS_EACH:-4} TURNS=${TURNS:-600}
VARIANTS="plain combined log module"
WEB=''

# write_config NAME PORT: one worker, a small page as most are, and what the variant adds.
write_config() {
  local tells=''
  case $1 in
    plain) tells="access_log off;" ;;
    combined) tells="access_log $WEB/combined.log combined buffer=64k flush=1s;" ;;
    log) tells="include $WEB/peep.conf;" ;;
    module) tells="access_log off; peep_socket $WEB/peep.sock; peep on; peep_service bench;" ;;
  esac
  mkdir -p "$WEB/$1"
  cat >"$WEB/$1/nginx.conf" <<CONF
load_module $MODULE;
worker_processes 1;
daemon off;
pid $WEB/$1/nginx.pid;
error_log $WEB/$1/error.log warn;
events { worker_connections 256; }
http {
  client_body_temp_path $WEB/$1/body;
  proxy_temp_path $WEB/$1/proxy;
  fastcgi_temp_path $WEB/$1/fastcgi;
  uwsgi_temp_path $WEB/$1/uwsgi;
  scgi_temp_path $WEB/$1/scgi;
  keepalive_requests 1000000000;
  $tells
  server {
    listen 127.0.0.1:$2;
    root $WEB/html;
  }
}
CONF
}

start() { # LOG COMMAND...: in the background, killed at the end.
  local log=$1
  shift
  "$@" >"$log" 2>&1 &
  PIDS="$PIDS $!"
}

stop_all() {
  local pid
  for pid in $PIDS; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$WEB"
}

port_of() { case $1 in plain) echo $((8181 + ${PORT_OFFSET:-0})) ;; log) echo $((8182 + ${PORT_OFFSET:-0})) ;; module) echo $((8183 + ${PORT_OFFSET:-0})) ;; combined) echo $((8184 + ${PORT_OFFSET:-0})) ;; esac; }

worker_of() { pgrep -P "$(cat "$WEB/$1/nginx.pid")" | head -n 1; }

# run VARIANT: "<variant> <requests> <seconds> <CPU of the worker in ns>".
run() {
  local worker before after
  worker=$(worker_of "$1")
  before=$(cut -d ' ' -f 1 "/proc/$worker/schedstat")
  taskset -c 1 wrk -t1 -c32 "-d${SECONDS_EACH}s" "http://127.0.0.1:$(port_of "$1")/items/4711?from=bench" >"$WEB/wrk"
  after=$(cut -d ' ' -f 1 "/proc/$worker/schedstat")
  if grep -q 'Non-2xx\|Socket errors' "$WEB/wrk"; then fail "not every request was served: $(cat "$WEB/wrk")"; fi
  awk -v variant="$1" -v cpu=$((after - before)) '/requests in/ { sub("s,", "", $4); print variant, $1, $4, cpu }' "$WEB/wrk"
}

make_log_dir
check_variables
require_tools curl compiler rust node nginx wrk
if command -v apt-get >/dev/null; then require_tools nginx_dev; fi
have_nginx_dev || fail "no Debian nginx-dev here to build the module against"
if [ "$(getconf _NPROCESSORS_ONLN)" -lt 2 ]; then fail "two cores are needed: one for nginx alone"; fi
# SKIP_BUILD=1 measures what is there.
if [ "${SKIP_BUILD:-0}" != 1 ]; then cargo build --release --package peep --package peep-benches; fi
build_nginx_module
PIDS=''
WEB=$(mktemp -d "${TMPDIR:-/tmp}/peep-nginx-bench.XXXXXX")
# nginx's workers may be another user.
chmod 755 "$WEB"
trap stop_all EXIT
mkdir -p "$WEB/html/items"
head -c 4000 /dev/zero | tr '\0' x >"$WEB/html/items/4711"
sed "s|/var/log/nginx/|$WEB/|" nginx-module/peep.conf >"$WEB/peep.conf"

start "$WEB/sink" taskset -c 1 "$BIN_DIR/peep-bench" take-all
until [ -s "$WEB/sink" ]; do sleep 0.1; done
PEEP_INGEST_KEY=peep_ing_bench start "$WEB/ship" taskset -c 1 "$BIN_DIR/peep" ship --follow --from-start --state "$WEB/state" \
  --service bench --nginx "unix:$WEB/peep.sock" --admin "127.0.0.1:$((9465 + ${PORT_OFFSET:-0}))" --url "http://$(cat "$WEB/sink")" "$WEB/access.peep.log"
until [ -S "$WEB/peep.sock" ]; do sleep 0.1; done
for variant in $VARIANTS; do
  write_config "$variant" "$(port_of "$variant")"
  start "$WEB/$variant/stderr" taskset -c 0 nginx -p "$WEB/$variant" -c "$WEB/$variant/nginx.conf"
  until curl -fsS -o /dev/null "http://127.0.0.1:$(port_of "$variant")/items/4711" 2>/dev/null; do sleep 0.1; done
done

say "$ROUNDS rounds of $SECONDS_EACH s each for: $VARIANTS"
for variant in $VARIANTS; do run "$variant" >/dev/null; done
order=$VARIANTS
for ((round = 1; round <= ROUNDS; round++)); do
  for variant in $order; do
    echo "$round $(run "$variant")" >>"$WEB/runs"
    # What the shipper still has to do is not the next one's.
    sleep 0.7
  done
  order=$(echo "$order" | awk '{ print $2, $3, $4, $1 }')
done
say "$TURNS rounds of turns"
turns=''
for variant in $VARIANTS; do turns="$turns $variant=$(port_of "$variant"):$(worker_of "$variant")"; done
# shellcheck disable=SC2086 # several words
taskset -c 1 node scripts/nginx/turns.mjs "$TURNS" $turns >"$WEB/turns"
sleep 1
curl -fsS "http://127.0.0.1:$((9465 + ${PORT_OFFSET:-0}))/metrics" | grep -E '^peep_ship_(lines_total|events_total|nginx_events)' || true
node scripts/nginx/ratios.mjs "$WEB/runs" "$WEB/turns"
