# shellcheck shell=bash disable=SC2034 # names for whoever sources this
# A stack for tests: in a temporary folder, on ports that are free, with the binaries that are already built, and gone at
# the end whatever happens. Nothing of it touches the user's own .peep, except the download cache.

private_stack() {
  # The server may run as another user (Postgres refuses root), who has to be able to enter the folder.
  DEV_DIR=$(mktemp -d "${TMPDIR:-/tmp}/peep-test.XXXXXX")
  chmod 755 "$DEV_DIR"
  ENV_FILE=$DEV_DIR/dev.env
  LOG_DIR=$DEV_DIR/logs
  export PEEP_DEV_DIR=$DEV_DIR SKIP_BUILD=1 PROFILE=${PROFILE:-dev}
  # Variables given to an outer make would otherwise reach the ones inside.
  unset DATABASE_URL PEEP_LOG PEEP_KAFKA_BROKERS MAKEFLAGS MFLAGS MAKELEVEL
  PORT_OFFSET=$(free_offset)
  export PORT_OFFSET
  BIN_DIR=${CARGO_TARGET_DIR:-$PWD/target}/$(if [ "$PROFILE" = dev ]; then echo debug; else echo release; fi)
  trap 'remove_private_stack' EXIT
  trap 'exit 130' INT TERM HUP
}

# private_stack_up: starts it, quietly unless that fails, and exports what its dev.env names.
private_stack_up() {
  DEMO=0 KAFKA=0 make --silent up >"$DEV_DIR/up.log" 2>&1 || {
    cat "$DEV_DIR/up.log"
    exit 1
  }
  set -a
  # shellcheck source=/dev/null
  . "$ENV_FILE"
  set +a
}

remove_private_stack() {
  make --silent down >/dev/null 2>&1 || true
  rm -rf "$DEV_DIR"
}

# An offset at which every port of a stack is free: ingest, dashboard, a Prometheus, three admin ports, Postgres, Kafka, and those of
# the example applications and their nginx.
free_offset() {
  local offset port
  for offset in $(seq 1000 97 8900); do
    for port in 4318 8080 9090 9464 9465 9466 15432 19092 3101 3102 3103 3104 8180; do
      if (exec 3<>"/dev/tcp/127.0.0.1/$((port + offset))") 2>/dev/null; then continue 2; fi
    done
    echo "$offset"
    return
  done
  fail "no free ports for a test stack" "stop what listens on ports 5318 and up"
}
