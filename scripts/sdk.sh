#!/usr/bin/env bash
# The SDKs, each with the frameworks it knows, send to a peep of their own, and what they saw is what peep answers. So do the
# examples behind an nginx, whose log is shipped. Part of `make test`. Expects the binaries of PROFILE to be built.
set -euo pipefail
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
# shellcheck source=scripts/lib/build.sh
. "$LIB/build.sh"
# shellcheck source=scripts/lib/private_stack.sh
. "$LIB/private_stack.sh"
cd "$ROOT"

make_log_dir
install_dashboard_packages
install_sdk_packages
install_sdk_runtimes
node sdk/js/scripts/build.mjs
private_stack
mkdir -p "$LOG_DIR"
DEMO=0 KAFKA=0 make --silent up >"$DEV_DIR/up.log" 2>&1 || {
  cat "$DEV_DIR/up.log"
  exit 1
}
set -a
# shellcheck source=/dev/null
. "$ENV_FILE"
set +a

PEEP_CHROMIUM=$(chromium_path)
PEEP_BIN=$BIN_DIR/peep
export PEEP_CHROMIUM PEEP_BIN
# With the features of the whole workspace, as the tests of Rust have built it already.
cargo build --quiet --locked --workspace --example axum --example hyper --example tower
PEEP_RUST_EXAMPLES=${CARGO_TARGET_DIR:-$ROOT/target}/debug/examples
export PEEP_RUST_EXAMPLES
# A package of its own: see its Cargo.toml.
cargo build --quiet --locked --manifest-path sdk/rust/examples/tonic/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-$ROOT/target}/sdk-tonic"
PEEP_TONIC_EXAMPLE=${CARGO_TARGET_DIR:-$ROOT/target}/sdk-tonic/debug/peep-sdk-example-tonic
export PEEP_TONIC_EXAMPLE
npm test --silent --prefix sdk/js
# Without the one of Next.js, whose build takes longer than all else here: npm run test:next.
APPS="axum express fastify" scripts/demo-apps.sh check
