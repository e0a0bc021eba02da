#!/usr/bin/env bash
# The SDKs, each with the frameworks it knows, send to a peep of their own, and what they saw is what peep answers. So do the
# examples behind an nginx, whose log is shipped. Part of `make test`. Expects the binaries of PROFILE to be built.
# EXTRA=1: also the examples for tonic, Bun, Deno and Next.js; see scripts/sdk-extra.sh.
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
if [ "${EXTRA:-0}" = 1 ]; then install_sdk_runtimes; fi
node sdk/js/scripts/build.mjs
private_stack
mkdir -p "$LOG_DIR"
private_stack_up

PEEP_CHROMIUM=$(chromium_path)
PEEP_BIN=$BIN_DIR/peep
export PEEP_CHROMIUM PEEP_BIN
# With the features of the whole workspace, as the tests of Rust have built it already.
cargo build --quiet --locked --workspace --example axum --example hyper --example tower
PEEP_RUST_EXAMPLES=${CARGO_TARGET_DIR:-$ROOT/target}/debug/examples
export PEEP_RUST_EXAMPLES
if [ "${EXTRA:-0}" = 1 ]; then
  # A package of its own: see its Cargo.toml.
  cargo build --quiet --locked --manifest-path sdk/rust/examples/tonic/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-$ROOT/target}/sdk-tonic"
  PEEP_TONIC_EXAMPLE=${CARGO_TARGET_DIR:-$ROOT/target}/sdk-tonic/debug/peep-sdk-example-tonic
  export PEEP_TONIC_EXAMPLE
else
  say "the examples for tonic, Bun, Deno and Next.js are run by: make sdk-extra"
fi
npm test --silent --prefix sdk/js
if [ "${EXTRA:-0}" = 1 ]; then npm run test:next --silent --prefix sdk/js; fi
APPS="axum express fastify" scripts/demo-apps.sh check
