#!/usr/bin/env bash
# A real Prometheus scrapes a peep of its own and answers in PromQL what was sent; promtool finds nothing to say about the
# metrics. Part of `make test`. Expects the binaries of PROFILE to be built.
set -euo pipefail
COMMAND=prometheus
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
# shellcheck source=scripts/lib/private_stack.sh
. "$LIB/private_stack.sh"
cd "$ROOT"

WRONG=0
# What no sane route looks like, and a scraper has to get as it was sent: quotes, backslashes, letters of all sizes. (Ingest takes no
# line feed in a route.)
HOSTILE='/a"b\c{le="1"} 2 # é😀'
TRACE=0af7651916cd43dd8448eb211c80319c

expect() { # WHAT WANTED FOUND
  if [ "$3" = "$2" ]; then
    note "ok      $1"
  else
    WRONG=1
    printf '    NOT OK  %s\n            wanted: %s\n            found:  %s\n' "$1" "$2" "$3"
  fi
}

# A body of events: NUMBER ROUTE STATUS DURATION [TRACE]; the route as JSON writes it, a line feed in it as \n.
events() {
  node -e '
    const [number, route, status, duration, trace] = process.argv.slice(1);
    const event = { service: "shop", env: "prod", route: route.replaceAll("\\n", "\n"), method: "POST", status: +status, duration_ms: +duration };
    if (trace) event.trace_id = trace;
    process.stdout.write(JSON.stringify(Array(+number).fill(event)));
  ' "$@"
}

send() {
  local status
  status=$(events "$@" | curl -sS -m 10 -o "$DEV_DIR/answer" -w '%{http_code}' "$PEEP_INGEST_URL/v1/events" \
    -H "Authorization: Bearer $PEEP_INGEST_KEY" -H 'Content-Type: application/json' --data-binary @-)
  if [ "$status" != 202 ]; then
    WRONG=1
    echo "    NOT OK  sending answered $status: $(cat "$DEV_DIR/answer")"
  fi
}

# ask PROMQL [TIME]: the value of the only answer, or all of it.
ask() {
  # Without an answer, which is how it begins, there is no value.
  { curl -sS -m 10 -G "$PROMETHEUS/api/v1/query" --data-urlencode "query=$1" ${2:+--data-urlencode "time=$2"} 2>/dev/null || true; } |
    node -e '
      const answer = JSON.parse(require("fs").readFileSync(0, "utf8") || "{}");
      const result = answer.data?.result ?? [];
      console.log(result.length === 1 ? result[0].value[1] : JSON.stringify(answer.error ?? result));'
}

# wait_for WHAT WANTED PROMQL: as soon as it is so, or what it is after 15 s.
wait_for() {
  local found deadline=$((SECONDS + 15))
  while true; do
    found=$(ask "$3")
    if [ "$found" = "$2" ] || [ "$SECONDS" -ge "$deadline" ]; then break; fi
    sleep 0.2
  done
  expect "$1" "$2" "$found"
}

private_stack
mkdir -p "$LOG_DIR"
# Commits and new label sets show up faster than by default; everything else is as it is.
export PEEP_ROLLUP_FLUSH_INTERVAL=500ms PEEP_STREAM_PROMETHEUS_ZERO_FOR=0
private_stack_up

cat >"$DEV_DIR/prometheus.yml" <<YAML
global: { scrape_interval: 500ms, scrape_timeout: 400ms }
scrape_configs:
  - job_name: peep
    static_configs: [{ targets: ['${PEEP_ADMIN_URL#http://}'] }]
YAML
promtool check config --syntax-only "$DEV_DIR/prometheus.yml" >"$DEV_DIR/promtool.log" || cat "$DEV_DIR/promtool.log"
PROMETHEUS_PORT=$((9090 + PORT_OFFSET))
PROMETHEUS=http://127.0.0.1:$PROMETHEUS_PORT
prometheus --config.file="$DEV_DIR/prometheus.yml" --storage.tsdb.path="$DEV_DIR/tsdb" --enable-feature=exemplar-storage \
  --web.listen-address="127.0.0.1:$PROMETHEUS_PORT" >"$DEV_DIR/prometheus.log" 2>&1 &
PROMETHEUS_PID=$!
stop_prometheus() {
  kill "$PROMETHEUS_PID" 2>/dev/null || true
  wait "$PROMETHEUS_PID" 2>/dev/null || true
  remove_private_stack
}
trap stop_prometheus EXIT

wait_for "Prometheus scrapes it" 1 'up{job="peep"}'
send 120 '/buy' 200 38.4
send 30 '/buy' 502 340 "$TRACE"
send 7 "$HOSTILE" 200 5
COUNT='http_server_request_duration_seconds_count{project="dev",env="prod",service="shop",http_request_method="POST"'
wait_for "requests are counted by class" 120 "$COUNT,http_route=\"/buy\",http_response_status_code=\"2xx\"}"
wait_for "the regular expression for failures finds them" 30 "sum($COUNT,http_route=\"/buy\",http_response_status_code=~\"5..\"})"
wait_for "a hostile route arrives as it was sent" 7 "$COUNT,http_route=\"/a\\\"b\\\\c{le=\\\"1\\\"} 2 # é😀\"}"
# At the moment of the last sample nothing is extrapolated: a counter that began at 0 gives the number that was sent.
LAST=$(ask "max(timestamp($COUNT,http_route=\"/buy\"}))")
expect "increase is what was sent" 150 "$(ask "sum(increase($COUNT,http_route=\"/buy\"}[10m]))" "$LAST")"
expect "rate is what was sent, by time" 0.25 "$(ask "sum(rate($COUNT,http_route=\"/buy\"}[10m]))" "$LAST")"
expect "failures by peep's own judgement" 30 "$(ask 'sum(increase(http_server_request_errors_total{service="shop"}[10m]))' "$LAST")"
expect "durations by bucket" '127 127 157' "$(
  for bound in 0.05 0.25 0.5; do
    ask "sum(http_server_request_duration_seconds_bucket{service=\"shop\",le=\"$bound\"})"
  done | xargs
)"
expect "a median lies in its bucket" yes "$(
  ask "histogram_quantile(0.5, sum by (le) (rate(http_server_request_duration_seconds_bucket{service=\"shop\",http_route=\"/buy\"}[10m]))) > 0.025 < 0.05" "$LAST" |
    grep -q '^0\.0[2-5]' && echo yes
)"
send 10 '/buy' 200 38.4
wait_for "a counter goes on" 130 "$COUNT,http_route=\"/buy\",http_response_status_code=\"2xx\"}"
wait_for "and never went back" 0 "sum(resets($COUNT}[10m]))"
exemplar() {
  curl -sS -m 10 -G "$PROMETHEUS/api/v1/query_exemplars" --data-urlencode 'query=http_server_request_duration_seconds_bucket' \
    --data-urlencode "start=$(($(date +%s) - 600))" --data-urlencode "end=$(($(date +%s) + 60))" | grep -o "$TRACE" | head -n 1
}
DEADLINE=$((SECONDS + 20))
until [ -n "$(exemplar || true)" ] || [ "$SECONDS" -ge "$DEADLINE" ]; do sleep 0.5; done
expect "a slow event is an exemplar with its trace" "$TRACE" "$(exemplar || true)"
expect "promtool has nothing to say" '' "$(curl -sS -m 10 "$PEEP_ADMIN_URL/metrics" | promtool check metrics 2>&1)"
expect "the whole of it in OpenMetrics ends as it should" '# EOF' \
  "$(curl -sS -m 10 -H 'Accept: application/openmetrics-text' "$PEEP_ADMIN_URL/metrics" | tail -n 1)"
if [ "$WRONG" -ne 0 ]; then tail -n 20 "$DEV_DIR/prometheus.log"; fi
exit "$WRONG"
