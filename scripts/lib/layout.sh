# shellcheck shell=bash disable=SC2034 # names for whoever sources this
# Where things lie and which ports they use. Sourced first by every script; sets names, does nothing.
# ROOT is the checkout. DEV_DIR holds one running stack with its data; CACHE_DIR holds downloads worth keeping.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
DEV_DIR=${PEEP_DEV_DIR:-$ROOT/.peep}
CACHE_DIR=${PEEP_CACHE_DIR:-$ROOT/.peep/cache}
RUN_DIR=$DEV_DIR/run
LOG_DIR=$DEV_DIR/logs
ENV_FILE=$DEV_DIR/dev.env
# The child scripts (Postgres, Kafka) and the tests keep their downloads in the same place.
export PEEP_CACHE_DIR=$CACHE_DIR

KAFKA=${KAFKA:-0}
PORT_OFFSET=${PORT_OFFSET:-0}
DEMO=${DEMO:-1}
PROFILE=${PROFILE:-release}

# Tools that earlier runs installed for this checkout only.
PATH=$CACHE_DIR/bin:$PATH
case :$PATH: in
  *":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;;
  *) PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin ;;
esac
export PATH

# Logs are for their owner: one of them names the database with its password. The folder above must stay open, because
# Postgres, which refuses to run as root, has to reach its data in it.
make_log_dir() {
  mkdir -p "$LOG_DIR"
  chmod 700 "$LOG_DIR"
}

# browsers_take PORT: whether pages may use it. The list is "bad port" of the Fetch standard, as far as an offset leads there.
browsers_take() {
  case $1 in 5060 | 5061 | 6000 | 6566 | 666[5-9] | 6679 | 6697 | 10080) return 1 ;; esac
}

# check_variables: refuses nonsense before anything is started.
check_variables() {
  case $KAFKA in 0 | 1) ;; *) fail "KAFKA=$KAFKA is neither 0 nor 1" "make $COMMAND KAFKA=1" ;; esac
  case $DEMO in 0 | 1) ;; *) fail "DEMO=$DEMO is neither 0 nor 1" "make $COMMAND DEMO=0" ;; esac
  case $PROFILE in
    release) TARGET_SUBDIR=release ;;
    dev) TARGET_SUBDIR=debug ;;
    *) fail "PROFILE=$PROFILE is neither release nor dev" "make $COMMAND PROFILE=dev" ;;
  esac
  case $PORT_OFFSET in
    '' | *[!0-9]* | ??????*) fail "PORT_OFFSET=$PORT_OFFSET is not a number from 0 to 9000" "make $COMMAND PORT_OFFSET=100" ;;
  esac
  PORT_OFFSET=$((10#$PORT_OFFSET))
  # 9000 keeps every port below the range of outgoing connections, see below.
  if [ "$PORT_OFFSET" -gt 9000 ]; then
    fail "PORT_OFFSET=$PORT_OFFSET is above 9000, the largest that fits" "make $COMMAND PORT_OFFSET=100"
  fi

  BIN_DIR=${CARGO_TARGET_DIR:-$ROOT/target}/$TARGET_SUBDIR
  INGEST_PORT=$((4318 + PORT_OFFSET))
  STREAM_PORT=$((8080 + PORT_OFFSET))
  # Pages are served from the one and send to the other.
  local port
  for port in $INGEST_PORT $STREAM_PORT; do
    browsers_take "$port" || fail "browsers refuse to connect to port $port, which PORT_OFFSET=$PORT_OFFSET leads to" "make $COMMAND PORT_OFFSET=$((PORT_OFFSET + 100))"
  done
  ADMIN_PORT=$((9464 + PORT_OFFSET))
  # With Kafka the services are processes of their own, so each needs an admin port of its own.
  ROLLUP_ADMIN_PORT=$((9465 + PORT_OFFSET))
  STREAM_ADMIN_PORT=$((9466 + PORT_OFFSET))
  # Away from 5432 and 9092, where a server of the machine's own may be; and, up to the largest offset, below 32768, where
  # the kernel takes ports for outgoing connections from.
  POSTGRES_PORT=$((15432 + PORT_OFFSET))
  KAFKA_PORT=$((19092 + PORT_OFFSET))
}
