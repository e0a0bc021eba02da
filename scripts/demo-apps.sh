#!/usr/bin/env bash
# The example applications of sdk/ behind an nginx, with a little load: the same requests as the application saw them and as nginx
# did. `make demo-apps` calls this.
#
#   demo-apps.sh          against the running stack, or one of its own; until Ctrl-C
#   demo-apps.sh check    a few hundred requests; do the load, the applications and nginx agree? Part of scripts/sdk.sh
#
# APPS="axum express" starts these alone, RATE=20 is requests per second over all of them, for FOR=15m.
set -euo pipefail
COMMAND=demo-apps
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

MODE=${1:-run}
APPS=${APPS:-axum express fastify next}
RATE=${RATE:-20}
FOR=${FOR:-15m}
SUFFIX=''
FOLDER=$DEV_DIR/demo-apps
NEXT_APP=$ROOT/sdk/js/examples/next

refuse_nonsense() {
  local app
  for app in $APPS; do
    case $app in axum | express | fastify | next) ;; *) fail "there is no application $app" 'APPS="axum express fastify next"' ;; esac
  done
  case $RATE in '' | *[!0-9]* | 0 | ????*) fail "RATE=$RATE is not a number of requests per second from 1 to 999" "make demo-apps RATE=20" ;; esac
  case ${FOR%[sm]} in '' | *[!0-9]* | 0* | ?????*) fail "FOR=$FOR is not a time such as 90s or 15m" "make demo-apps FOR=15m" ;; esac
  case $FOR in *m) FOR_SECONDS=$((${FOR%m} * 60)) ;; *) FOR_SECONDS=${FOR%s} ;; esac
}

app_port() {
  case $1 in
    axum) echo $((3101 + PORT_OFFSET)) ;;
    express) echo $((3102 + PORT_OFFSET)) ;;
    fastify) echo $((3103 + PORT_OFFSET)) ;;
    next) echo $((3104 + PORT_OFFSET)) ;;
  esac
}

# --- building ---------------------------------------------------------------------------------------------------------

build_apps() {
  local flags=''
  if [ "$PROFILE" = release ]; then flags=--release; fi
  # scripts/sdk.sh has built these already.
  if [ "${SKIP_BUILD:-0}" != 1 ]; then
    install_sdk_packages
    with_progress "building the JavaScript SDK" "$LOG_DIR/build-sdk.log" node sdk/js/scripts/build.mjs ||
      fail "the JavaScript SDK does not build" "read $LOG_DIR/build-sdk.log"
    # shellcheck disable=SC2086 # empty or one flag
    cargo build $flags --quiet --locked --workspace --example axum ||
      fail "the axum example does not build" "read the compiler's words above"
  fi
  case " $APPS " in *" next "*) build_next ;; esac
}

# Next.js is large and the dashboard has it already: the same version, installed once.
build_next() {
  local installed=$ROOT/dashboard/node_modules name now
  install_dashboard_packages
  mkdir -p "$NEXT_APP/node_modules/@types"
  for name in next react react-dom typescript @types/node @types/react @types/react-dom; do
    ln -sfn "$installed/$name" "$NEXT_APP/node_modules/$name"
  done
  now="$(fingerprint "$NEXT_APP") $(fingerprint "$ROOT/sdk/js/src")"
  if [ "$(cat "$NEXT_APP/.next/peep-built" 2>/dev/null)" = "$now" ]; then return 0; fi
  with_progress "building the Next.js example" "$LOG_DIR/build-next.log" \
    env NEXT_TELEMETRY_DISABLED=1 node "$installed/next/dist/bin/next" build --webpack "$NEXT_APP" ||
    fail "the Next.js example does not build" "read $LOG_DIR/build-next.log"
  # Taken after the build, which may itself write sources.
  echo "$(fingerprint "$NEXT_APP") $(fingerprint "$ROOT/sdk/js/src")" >"$NEXT_APP/.next/peep-built"
}

# --- starting ---------------------------------------------------------------------------------------------------------

start_app() { # NAME
  local app=$1 settings
  require_free_port "$(app_port "$app")"
  settings=(PORT="$(app_port "$app")" NODE_ENV=production NEXT_TELEMETRY_DISABLED=1 PEEP_INGEST_URL="$PEEP_INGEST_URL"
    PEEP_INGEST_KEY="$PEEP_INGEST_KEY" PEEP_SERVICE="shop-$app$SUFFIX" PEEP_ENV=production PEEP_HOST=app)
  case $app in
    axum) start_process "app-$app" env "${settings[@]}" "${CARGO_TARGET_DIR:-$ROOT/target}/$TARGET_SUBDIR/examples/axum" ;;
    next)
      start_process "app-$app" env "${settings[@]}" node "$ROOT/dashboard/node_modules/next/dist/bin/next" start "$NEXT_APP" \
        --port "$(app_port next)" --hostname 127.0.0.1
      ;;
    *) start_process "app-$app" env "${settings[@]}" node "sdk/js/examples/$app.mjs" ;;
  esac
}

# Asked for its port alone: a request here would be one that nginx did not see.
wait_for_port() { # NAME PORT
  local deadline=$((SECONDS + 60))
  until port_in_use "$2"; do
    is_running "$1" || fail "$1 stopped while starting: $(last_words "$1")" "the whole log is $(log_file "$1")"
    [ "$SECONDS" -lt "$deadline" ] || fail "$1 does not listen after 60 s" "the whole log is $(log_file "$1")"
    sleep 0.1
  done
}

# One server a name, each with a log of its own, whose name is its service. `*.localhost` is this machine, says RFC 6761.
write_nginx_conf() {
  local app
  mkdir -p "$FOLDER/logs"
  sed 's|/var/log/nginx|logs|' nginx-module/peep.conf >"$FOLDER/peep.conf"
  {
    cat <<CONF
daemon off;
pid nginx.pid;
worker_processes 1;
events {}
http {
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  include peep.conf;
CONF
    for app in $APPS; do
      cat <<CONF
  server {
    listen 127.0.0.1:$NGINX_PORT;
    server_name $app.localhost;
    access_log logs/shop-$app-nginx$SUFFIX.access.log peep buffer=64k flush=1s;
    location / {
      proxy_pass http://127.0.0.1:$(app_port "$app");
      proxy_set_header Host \$host;
    }
  }
CONF
    done
    echo "}"
  } >"$FOLDER/nginx.conf"
}

start_nginx() {
  NGINX_PORT=$((8180 + PORT_OFFSET))
  require_free_port "$NGINX_PORT"
  write_nginx_conf
  start_process app-nginx "$NGINX" -e "$FOLDER/error.log" -p "$FOLDER" -c "$FOLDER/nginx.conf"
  wait_for_port app-nginx "$NGINX_PORT"
}

start_shipper() {
  start_process app-ship env PEEP_INGEST_URL="$PEEP_INGEST_URL" PEEP_INGEST_KEY="$PEEP_INGEST_KEY" "$BIN_DIR/peep" ship \
    --follow --from-start --state "$FOLDER/ship" --env production --host nginx --route '/legacy/{*rest}' \
    "$FOLDER/logs/*.access.log"
}

start_load() {
  start_process app-load env APPS="$APPS" NGINX_PORT="$NGINX_PORT" RATE="$RATE" SECONDS_MAX="$FOR_SECONDS" node scripts/demo-apps/load.mjs
}

start_all() {
  local app
  # Of a run that was killed.
  stop_apps
  rm -rf "$FOLDER"
  for app in $APPS; do start_app "$app"; done
  for app in $APPS; do wait_for_port "app-$app" "$(app_port "$app")"; done
  start_nginx
  start_shipper
  start_load
}

# From the client to the reader, so that each still finds what it sends to.
stop_apps() {
  local name
  for name in app-load app-nginx app-axum app-express app-fastify app-next app-ship; do
    if is_running "$name"; then stop_process "$name" 10; fi
  done
}

# --- what a person sees -----------------------------------------------------------------------------------------------

print_links() {
  local link page='/compare/?a=host%3Aapp&b=host%3Anginx&from=-15m' app
  link=$(DATABASE_URL=$DATABASE_URL "$BIN_DIR/peep" login-link --project dev --base-url "$PEEP_URL" 2>"$LOG_DIR/login-link.log") ||
    fail "no login link: $(last_words login-link)" "the whole log is $LOG_DIR/login-link.log"
  cat <<TEXT

${BOLD}The applications are served${PLAIN}, $RATE requests per second for $FOR

  sign in        ${GREEN}$link${PLAIN}
                 (works once)
  side by side   $PEEP_URL$page
                 every route as the applications saw it, and as nginx did
  one by one     $PEEP_URL/?sort=service&from=-15m
                 shop-express beside shop-express-nginx, and so on

TEXT
  for app in $APPS; do printf '  %-14s http://%s.localhost:%s/users/1\n' "$app" "$app" "$NGINX_PORT"; done
  cat <<TEXT

  A third of the clients are far away: nginx waits for their requests, the applications do not.
  nginx counts whole milliseconds, the applications thousandths of them.

TEXT
}

watch_apps() {
  local name names app
  names="app-nginx app-ship"
  for app in $APPS; do names="$names app-$app"; done
  while true; do
    for name in $names; do
      is_running "$name" || fail "$name has stopped by itself: $(last_words "$name")" "the whole log is $(log_file "$name")"
    done
    any_service_running || fail "peep itself was stopped" "make up"
    sleep 1
  done
}

OWN_STACK=0
finish() {
  # Whatever fails or is interrupted in here, the rest is still stopped.
  set +e
  trap '' INT TERM HUP
  echo
  say "Stopping"
  stop_apps
  if [ "$OWN_STACK" = 1 ]; then make --silent down; fi
}

use_stack() {
  if recall_stack && any_service_running; then
    check_variables
  else
    # A stack that is started here is stopped here.
    OWN_STACK=1
    DEMO=0 make up
    recall_stack
    check_variables
  fi
  # shellcheck source=/dev/null
  . "$ENV_FILE"
}

command_run() {
  trap 'exit 130' INT TERM HUP
  trap finish EXIT
  use_stack
  build_apps
  start_all
  print_links
  note "Ctrl-C stops everything."
  trap 'exit 0' INT
  watch_apps
}

# Services of its own, so that what was counted before does not matter.
command_check() {
  RATE=60 FOR_SECONDS=5 SUFFIX=-$$
  trap 'exit 130' INT TERM HUP
  trap finish EXIT
  use_stack
  build_apps
  start_all
  PEEP_URL=$PEEP_URL PEEP_READ_KEY=$PEEP_READ_KEY APPS=$APPS SUFFIX=$SUFFIX LOAD_LOG=$(log_file app-load) \
    node scripts/demo-apps/verdict.mjs
}

cd "$ROOT"
check_variables
refuse_nonsense
make_log_dir
require_tools curl compiler rust node nginx
NGINX=$(PATH=$PATH:/usr/sbin:/sbin command -v nginx)
case $MODE in
  run | check) "command_$MODE" ;;
  *) fail "unknown mode $MODE" "scripts/demo-apps.sh check" ;;
esac
