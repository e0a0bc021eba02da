#!/usr/bin/env bash
# make test: every test there is. Installs and starts what they need: Postgres, Kafka, a browser. Goes on after a failure,
# so that one run shows all of them; exits 0 only when every suite passed.
set -euo pipefail
COMMAND="test"
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
# shellcheck source=scripts/lib/build.sh
. "$LIB/build.sh"
# shellcheck source=scripts/lib/suite.sh
. "$LIB/suite.sh"
# shellcheck source=scripts/lib/private_stack.sh
. "$LIB/private_stack.sh"
cd "$ROOT"

# The debug build, which the Rust tests need anyway, serves the other suites as well.
export PROFILE=dev

rust_build() { cargo build --workspace --bins --tests --locked; }
# With the binary that is there: tests of other crates would build one with the features of its own package, and most of the workspace again for it.
rust_tests() { PEEP_BIN=${CARGO_TARGET_DIR:-$ROOT/target}/debug/peep cargo test --workspace --locked --no-fail-fast; }
dashboard_tests() { npm test --prefix dashboard; }
journey() { scripts/journey.sh; }
otel() { scripts/otel.sh; }
prometheus() { scripts/prometheus.sh; }
openapi() { scripts/openapi.sh; }
nginx_events() { scripts/nginx.sh; }
sdks() { scripts/sdk.sh; }
faults() { SHORT=1 scripts/faults.sh; }

# The dashboard in a real browser, against a real stack.
browser_tests() {
  private_stack
  DEMO=0 KAFKA=0 make up
  set -a
  # shellcheck source=/dev/null
  . "$ENV_FILE"
  set +a
  PEEP_LOGIN_URL=$("$BIN_DIR/peep" login-link --project dev --url "$PEEP_URL")
  PEEP_ADMIN_KEY=$("$BIN_DIR/peep" key create --project dev --scope admin --quiet)
  PEEP_CHROMIUM=$(chromium_path)
  export PEEP_LOGIN_URL PEEP_ADMIN_KEY PEEP_CHROMIUM
  npm run test:browser --prefix dashboard
}

make_log_dir
require_tools curl compiler rust node python postgres kafka nginx chromium prometheus
# Elsewhere the step that needs it says that it could not judge.
if command -v apt-get >/dev/null; then require_tools nginx_dev; fi
build_dashboard

step "build" rust_build
export PREBUILT=1
step "Rust tests (real Postgres, real Kafka)" rust_tests
beside "faults: a short campaign under load" faults
step "dashboard tests" dashboard_tests
step "journey: make up, an event in, its number out, crash, make down" journey
step "OpenTelemetry SDKs of Python and Node: spans in, their numbers out" otel
step "Prometheus: events in, scraped, asked in PromQL" prometheus
step "API: what its description allows and forbids, asked by schemathesis" openapi
step "SDKs: requests of real frameworks, their numbers out" sdks
step "nginx: requests in, by its log and by the module, their numbers out" nginx_events
joined
step "dashboard in a browser" browser_tests
summary
