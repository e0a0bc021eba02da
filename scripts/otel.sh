#!/usr/bin/env bash
# Unmodified OpenTelemetry SDKs from their registries send to a peep of their own, with nothing but OTEL_* variables, and
# what they saw is what peep answers. Part of `make test`. Expects the binaries of PROFILE to be built.
set -euo pipefail
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/private_stack.sh
. "$LIB/private_stack.sh"
cd "$ROOT"

APPS=$ROOT/scripts/otel
SDKS=$CACHE_DIR/otel
WRONG=0

# Once for each set of pinned versions; what was installed only half is not there.
install_python_sdk() {
  PYTHON_SDK=$SDKS/python-$(cksum <"$APPS/requirements.txt" | cut -d ' ' -f 1)
  if [ -e "$PYTHON_SDK/complete" ]; then return; fi
  rm -rf "$PYTHON_SDK"
  python3 -m venv "$PYTHON_SDK"
  "$PYTHON_SDK/bin/pip" install --quiet --disable-pip-version-check --requirement "$APPS/requirements.txt"
  touch "$PYTHON_SDK/complete"
}

install_node_sdk() {
  NODE_SDK=$SDKS/node-$(cksum <"$APPS/package-lock.json" | cut -d ' ' -f 1)
  if [ -e "$NODE_SDK/complete" ]; then return; fi
  rm -rf "$NODE_SDK"
  mkdir -p "$NODE_SDK"
  cp "$APPS/package.json" "$APPS/package-lock.json" "$NODE_SDK"
  npm ci --silent --no-audit --no-fund --ignore-scripts --prefix "$NODE_SDK"
  touch "$NODE_SDK/complete"
}

# rows SERVICE: "<route> <method> <status> <count> <errors>" of each series, sorted.
rows() {
  curl -sS -m 10 -H "Authorization: Bearer $PEEP_READ_KEY" \
    "$PEEP_URL/v1/summary?from=-1h&to=now&service=$1&group_by=route,method,status" |
    node -e 'for (const row of JSON.parse(require("fs").readFileSync(0)).rows)
      console.log(row.route, row.method, row.status, row.count, row.errors, row.latency_count === row.count ? "timed" : "untimed")' | sort
}

# expect_rows SERVICE WANTED: as soon as they are there, or what is there after ten seconds.
expect_rows() {
  local found deadline=$((SECONDS + 10))
  while true; do
    found=$(rows "$1")
    if [ "$found" = "$2" ] || [ "$SECONDS" -ge "$deadline" ]; then break; fi
    sleep 0.2
  done
  if [ "$found" = "$2" ]; then
    note "ok      $1"
  else
    WRONG=1
    printf '    NOT OK  %s\n--- wanted\n%s\n--- found\n%s\n' "$1" "$2" "$found"
  fi
}

run() { # SERVICE VARIABLES... -- COMMAND...
  local variables=("OTEL_SERVICE_NAME=$1")
  shift
  while [ "$1" != -- ]; do
    variables+=("$1")
    shift
  done
  shift
  env OTEL_EXPORTER_OTLP_ENDPOINT="$PEEP_INGEST_URL" OTEL_EXPORTER_OTLP_HEADERS="peep-key=$PEEP_INGEST_KEY" \
    OTEL_TRACES_EXPORTER=otlp OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none "${variables[@]}" \
    timeout 60 "$@" >"$DEV_DIR/sdk.log" 2>&1 || {
    WRONG=1
    echo "    the application failed:"
    cat "$DEV_DIR/sdk.log"
  }
}

install_python_sdk
install_node_sdk
private_stack
mkdir -p "$LOG_DIR"
private_stack_up

FLASK=$'(none) GET 404 1 0 timed\n/boom GET 500 1 1 timed\n/users/<int:user> GET 200 3 0 timed'
EXPRESS=$'(none) GET 404 1 0 timed\n/boom GET 500 1 1 timed\n/users/:id GET 200 3 0 timed'

python=(-- "$PYTHON_SDK/bin/opentelemetry-instrument" "$PYTHON_SDK/bin/python" "$APPS/shop.py")
run flask-stable OTEL_SEMCONV_STABILITY_OPT_IN=http OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf "${python[@]}"
run flask-older OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_COMPRESSION=gzip \
  "OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20$PEEP_INGEST_KEY" "${python[@]}"
# Modules are looked for beside the program.
cp "$APPS/shop.cjs" "$NODE_SDK/shop.cjs"
run express-json OTEL_SEMCONV_STABILITY_OPT_IN=http OTEL_EXPORTER_OTLP_PROTOCOL=http/json -- node "$NODE_SDK/shop.cjs"
run express-protobuf OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_COMPRESSION=gzip \
  -- node "$NODE_SDK/shop.cjs"

expect_rows flask-stable "$FLASK"
expect_rows flask-older "$FLASK"
expect_rows express-json "$EXPRESS"
expect_rows express-protobuf "$EXPRESS"
exit "$WRONG"
