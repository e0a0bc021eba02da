#!/usr/bin/env bash
# A private Apache Kafka, one KRaft node: for `make dev KAFKA=1`, for the tests, and for nothing else.
#
#   kafka.sh install                                    the jars, from Maven Central; Java and Maven when they are missing
#   kafka.sh start  --dir D [--port P] [--fresh] [--fast] [--while-locked FILE]   prints the broker's address
#   kafka.sh stop   --dir D [--kill]
#   kafka.sh status --dir D | --binaries
#
# Several nodes, for tests that break one of them: one start for each, side by side, each with a folder of its own:
#   kafka.sh start --dir D --port P --node N --voters 1@127.0.0.1:P1,2@127.0.0.1:P2,3@127.0.0.1:P3 --cluster-id ID
# --doors NAME:PORT:ADVERTISED,...   more listeners on 127.0.0.1:PORT, each of which tells its clients to come back to port
#                                    ADVERTISED: so that a proxy stands between one kind of client and the broker
#
# Everything lies under D: data, configuration, log. Without --port a free one is chosen at each start. Calling install, start or
# stop twice is harmless. The broker listens on 127.0.0.1 only. start returns once the broker answers; the jars lie in
# $PEEP_CACHE_DIR (default .peep/cache) and are shared by all checkouts that name the same folder.
# --fresh          delete the data first (not when the broker already runs)
# --fast           start-up before peak speed: for tests
# --while-locked   stop 60 s after the last process has let go of FILE, see lib/servers.sh
# Memory: $PEEP_KAFKA_HEAP (default "-Xms128m -Xmx384m").
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$HERE/lib/say.sh"
# shellcheck source=scripts/lib/ports.sh
. "$HERE/lib/ports.sh"
# shellcheck source=scripts/lib/servers.sh
. "$HERE/lib/servers.sh"
# shellcheck source=scripts/lib/processes.sh
. "$HERE/lib/processes.sh"

VERSION=4.3.1
# The logging binding is not a dependency of the broker; without it a failing broker says nothing. It is the one for SLF4J 1.7,
# which is what this Kafka was built with.
LOG4J=2.25.4
JAVA_MAJOR_MIN=17
CACHE=${PEEP_CACHE_DIR:-$(cd "$HERE/.." && pwd)/.peep/cache}
JARS=$CACHE/kafka-$VERSION
UNUSED_SECONDS=60
START_SECONDS=60

# --- install ----------------------------------------------------------------------------------------------------------

find_java() {
  local java
  for java in "${JAVA_HOME:-/nowhere}/bin/java" "$(command -v java || true)" /opt/homebrew/opt/openjdk*/bin/java /usr/local/opt/openjdk*/bin/java; do
    if [ -x "$java" ] && [ "$(java_major "$java")" -ge "$JAVA_MAJOR_MIN" ]; then
      echo "$java"
      return
    fi
  done
  return 1
}

# "17.0.15" and "21" say 17 and 21; the "1.8.0" of old says 1, which is too old just as well.
java_major() {
  local major
  major=$("$1" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  echo "${major:-0}"
}

require_java() {
  JAVA=$(find_java) || fail "Kafka $VERSION needs Java $JAVA_MAJOR_MIN or newer" \
    "scripts/kafka.sh install, or Debian/Ubuntu: apt-get install openjdk-17-jre-headless   macOS: brew install openjdk@21"
}

have_jars() { [ -f "$JARS/complete" ]; }

require_jars() {
  if have_jars; then return; fi
  fetch_jars >&2
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "installing packages needs root, and there is no sudo" "run as root: $*"
  fi
}

install_java_and_maven() {
  if find_java >/dev/null && { have_jars || command -v mvn >/dev/null; }; then return; fi
  if command -v apt-get >/dev/null; then
    local jre packages=maven
    if ! find_java >/dev/null; then
      for jre in openjdk-25-jre-headless openjdk-21-jre-headless openjdk-17-jre-headless; do
        # A version to install, and not only a mention by another package.
        if apt-cache policy "$jre" | grep -q 'Candidate: [0-9]'; then
          packages="$jre maven"
          break
        fi
      done
    fi
    # shellcheck disable=SC2086 # a list of packages
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages
  elif command -v brew >/dev/null; then
    brew install openjdk@21 maven
  else
    fail "neither apt-get nor brew is here" "install Java $JAVA_MAJOR_MIN or newer and Maven by hand"
  fi
  require_java
}

# The list of jars is Maven's business: Kafka publishes its broker as an ordinary artifact with dependencies.
pom() {
  cat <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>peep</groupId>
  <artifactId>kafka</artifactId>
  <version>$VERSION</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$LOG4J</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>$LOG4J</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-api</artifactId><version>$LOG4J</version></dependency>
  </dependencies>
</project>
POM
}

# Into a folder of its own and then renamed: a download that was cut off is never taken for a whole one, and two at once do no harm.
fetch_jars() {
  command -v mvn >/dev/null || fail "Maven is needed once, to download Kafka $VERSION" \
    "scripts/kafka.sh install, or Debian/Ubuntu: apt-get install maven   macOS: brew install maven"
  local work
  mkdir -p "$CACHE"
  work=$(mktemp -d "$CACHE/kafka-$VERSION.XXXXXX")
  pom >"$work/pom.xml"
  if ! with_progress "downloading Apache Kafka $VERSION from Maven Central" "$work/maven.log" \
    mvn --batch-mode --file "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$work/jars"; then
    local why
    why=$(grep -m 1 '^\[ERROR\]' "$work/maven.log" || tail -n 1 "$work/maven.log")
    rm -rf "$work"
    fail "Kafka could not be downloaded: $why" "check that this machine reaches Maven Central (or its mirror in ~/.m2/settings.xml)"
  fi
  for jar in "kafka_2.13-$VERSION" "log4j-core-$LOG4J" "log4j-slf4j-impl-$LOG4J"; do
    [ -f "$work/jars/$jar.jar" ] || fail "the download lacks $jar.jar" "read $work/maven.log"
  done
  touch "$work/jars/complete"
  rm -rf "$JARS"
  mv "$work/jars" "$JARS"
  rm -rf "$work"
}

# --- start and stop ---------------------------------------------------------------------------------------------------

# processes.sh keeps its pid files and logs where these say.
use_dir() {
  RUN_DIR=$DIR/run
  LOG_DIR=$DIR/logs
  mkdir -p "$RUN_DIR" "$LOG_DIR"
}

write_configuration() {
  local port=$1 controller_port=$2 node voters copies=1 insync=1 doors='' advertised='' protocols='' door
  node=$(option --node "${@:4}")
  voters=$(option --voters "${@:4}")
  for door in $(option --doors "${@:4}" | tr ',' ' '); do
    local name=${door%%:*} ports=${door#*:}
    doors=$doors,$name://127.0.0.1:${ports%:*}
    advertised=$advertised,$name://127.0.0.1:${ports#*:}
    protocols=$protocols,$name:PLAINTEXT
  done
  local quorum=controller.quorum.bootstrap.servers=127.0.0.1:$controller_port
  if [ -n "$voters" ]; then
    copies=3 insync=2
    quorum=controller.quorum.voters=$voters
  fi
  cat >"$DIR/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=${node:-1}
$quorum
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port$doors
advertised.listeners=PLAINTEXT://127.0.0.1:$port$advertised
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT$protocols
log.dirs=$DIR/data
# One node holds the only copy of everything; of three, two hold what was acknowledged.
default.replication.factor=$copies
min.insync.replicas=$insync
offsets.topic.replication.factor=$copies
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$insync
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=$insync
group.initial.rebalance.delay.ms=0
# A misspelt topic must be an error, not a new topic.
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
# Segments are created at full size on some file systems; the default of 1 GiB per partition is for bigger machines.
log.segment.bytes=134217728
log.index.size.max.bytes=1048576
PROPERTIES
  # After a kill, a broker may register again only when its old session has ended; tests kill it often. They also want to
  # see what is done once in minutes elsewhere: what is too old removed, leaders moved back to where they belong.
  if [ "$3" = fast ]; then
    printf '%s\n' broker.session.timeout.ms=3000 broker.heartbeat.interval.ms=500 log.retention.check.interval.ms=1000 \
      leader.imbalance.check.interval.seconds=5 >>"$DIR/server.properties"
  fi
  # Warnings only, so that the log stays small over weeks, plus the one line that says the broker is up.
  cat >"$DIR/log4j2.properties" <<PROPERTIES
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{yyyy-MM-dd HH:mm:ss,SSS} %p %m (%c{1})%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=info
PROPERTIES
}

format_storage() {
  # 16 random bytes in URL-safe base64 are a Kafka cluster id; one that begins with a dash would be taken for an option.
  local id standalone=--standalone
  id=$(option --cluster-id "$@")
  if [ -z "$id" ]; then id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n' | sed 's/^-/A/'); fi
  if [ -n "$(option --voters "$@")" ]; then standalone=''; fi
  # shellcheck disable=SC2086 # empty or one flag
  if ! "$JAVA" -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$DIR/log4j2.properties" -cp "$JARS/*" \
    kafka.tools.StorageTool format $standalone --cluster-id "$id" --config "$DIR/server.properties" --ignore-formatted >"$LOG_DIR/format.log" 2>&1; then
    fail "Kafka's data directory could not be prepared: $(tail -n 1 "$LOG_DIR/format.log")" "the whole output is in $LOG_DIR/format.log"
  fi
}

# The one that the list of voters names for this node, or any.
controller_port() {
  local node voters
  node=$(option --node "$@")
  voters=$(option --voters "$@")
  if [ -z "$voters" ]; then
    free_port
    return
  fi
  printf '%s\n' "$voters" | tr ',' '\n' | sed -n "s/^${node:-1}@.*://p"
}

launch() {
  local speed=()
  if flag --fast "$@"; then speed=(-XX:TieredStopAtLevel=1 -Xshare:auto); fi
  # shellcheck disable=SC2086 # a list of options
  start_process kafka "$JAVA" ${PEEP_KAFKA_HEAP:--Xms128m -Xmx384m} -XX:+UseSerialGC ${speed[@]+"${speed[@]}"} -Djava.awt.headless=true \
    -Dlog4j2.configurationFile="$DIR/log4j2.properties" -Dkafka.logs.dir="$LOG_DIR" -cp "$JARS/*" \
    kafka.Kafka "$DIR/server.properties"
}

# The innermost cause of the first failure, out of a Java stack trace.
reason() {
  local why
  why=$(grep -E '^Caused by|Exception|ERROR|Error:' "$(log_file kafka)" | head -n 5 | grep -E '^Caused by' | tail -n 1 || true)
  if [ -z "$why" ]; then why=$(grep -m 1 -E 'Exception|ERROR|Error' "$(log_file kafka)" || last_words kafka); fi
  echo "$why" | cut -c 1-300
}

# An open port is not a broker that answers; this line comes after the node has registered and is unfenced.
wait_until_started() {
  local deadline=$((SECONDS + START_SECONDS))
  until grep -q 'Kafka Server started' "$(log_file kafka)" 2>/dev/null; do
    if ! is_running kafka; then
      fail "Kafka stopped while starting: $(reason)" "the whole log is $(log_file kafka)"
    fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      stop_process kafka 5 >&2
      fail "Kafka did not start within $START_SECONDS s" "the log is $(log_file kafka)"
    fi
    sleep 0.1
  done
}

start() {
  require_java
  require_jars
  use_dir
  if ! is_running kafka; then
    if flag --fresh "$@"; then rm -rf "$DIR/data" "$DIR/formatted" "$DIR/controller-port"; fi
    local port file
    port=$(option --port "$@")
    if [ -n "$port" ]; then require_unused "$port"; else port=$(free_port); fi
    # The quorum remembers its controller's address, so this port is kept.
    if [ ! -f "$DIR/controller-port" ]; then controller_port "$@" >"$DIR/controller-port"; fi
    write_configuration "$port" "$(cat "$DIR/controller-port")" "$(flag --fast "$@" && echo fast || true)" "$@"
    if [ ! -f "$DIR/formatted" ]; then
      rm -rf "$DIR/data"
      format_storage "$@"
      touch "$DIR/formatted"
    fi
    launch "$@"
    wait_until_started
    echo "$port" >"$DIR/port"
    file=$(option --while-locked "$@")
    if [ -n "$file" ]; then stop_when_unused "$file" "$UNUSED_SECONDS" "$HERE/kafka.sh" stop --dir "$DIR"; fi
  fi
  echo "127.0.0.1:$(cat "$DIR/port")"
}

stop() {
  if [ ! -d "$DIR" ]; then return 0; fi
  use_dir
  if flag --kill "$@"; then
    local pid
    if pid=$(running_pid kafka); then kill -KILL "$pid"; fi
  fi
  stop_process kafka 20 >&2
}

status() {
  if flag --binaries "$@"; then
    find_java
    have_jars && echo "$JARS"
    return
  fi
  if [ -d "$DIR" ]; then
    use_dir
    if is_running kafka; then
      echo "running on port $(cat "$DIR/port")"
      return
    fi
  fi
  echo "stopped"
  return 3
}

usage() { sed -n '4,7s/^# *//p' "${BASH_SOURCE[0]}" >&2; }

COMMAND=${1:-}
shift || true
DIR=$(option --dir "$@")
if [ -n "$DIR" ]; then DIR=$(absolute "$DIR"); fi
case $COMMAND in
  start | stop)
    if [ -z "$DIR" ]; then
      usage
      fail "$COMMAND needs --dir"
    fi
    ;;
  status)
    if [ -z "$DIR" ] && ! flag --binaries "$@"; then
      usage
      fail "status needs --dir or --binaries"
    fi
    ;;
esac
case $COMMAND in
  install)
    install_java_and_maven
    require_jars
    ;;
  start) start "$@" ;;
  stop) stop "$@" ;;
  status) status "$@" ;;
  *)
    usage
    fail "unknown command '$COMMAND'"
    ;;
esac
