#!/usr/bin/env bash
# make check: everything that can be said about the code without running it. Goes on after a failure, so that one run
# shows all of them; exits 0 only when every step passed.
set -euo pipefail
COMMAND=check
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
cd "$ROOT"

# Licences, sources and the floors in deny.toml need no network. The advisory database does; without it that part cannot
# be judged, and the closing line says so.
dependency_policy() {
  cargo deny check bans licenses sources
  # It needs less than the workspace does.
  cargo deny --manifest-path nginx-module/Cargo.toml --config deny.toml check --hide-inclusion-graph \
    --allow license-not-encountered --allow license-exception-not-encountered bans licenses sources
}
dependency_advisories() {
  local log=$LOG_DIR/advisories.log
  if cargo deny fetch db >"$log" 2>&1; then
    cargo deny check --disable-fetch advisories
  else
    tail -n 1 "$log"
    skip "the advisory database could not be fetched"
  fi
}

formatting() { cargo fmt --all --check && cargo fmt --manifest-path nginx-module/Cargo.toml --check; }
lock_file() { cargo metadata --locked --format-version 1 --no-deps >/dev/null; }
# A workspace of its own with a lock file of its own, in the same target directory: what both depend on is checked once. The
# fuzzer itself is not needed for that, and compiling it would take longer than the rest.
fuzz_targets() {
  cargo metadata --manifest-path fuzz/Cargo.toml --locked --format-version 1 >/dev/null || {
    echo "its lock file follows the product's: cp Cargo.lock fuzz/ && cargo metadata --manifest-path fuzz/Cargo.toml --format-version 1 >/dev/null"
    return 1
  }
  CUSTOM_LIBFUZZER_PATH=/nowhere/libfuzzer.a cargo check --manifest-path fuzz/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}" --locked
}
# The nginx module, which is no member of the workspace, because it needs the headers of an nginx.
nginx_module() {
  if ! have_nginx_dev; then skip "no Debian nginx-dev here to compile the module against"; fi
  PATH=$PATH:/usr/sbin:/sbin cargo_nginx_module clippy --release -- -D warnings
}
# Private items too: the tours in lib.rs lead through private modules, and their links are worth checking.
docs() { RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --locked; }
sdk_lint() { npm run --silent lint --prefix sdk/js; }
shell_scripts() { shellcheck --severity=warning -x -a scripts/*.sh .ci/run; }
dashboard_lint() { npm run --silent lint --prefix dashboard; }

make_log_dir
require_tools curl git compiler rust node shellcheck cargo_deny
# Elsewhere the step that needs it says that it could not judge.
if command -v apt-get >/dev/null; then require_tools nginx_dev; fi
install_dashboard_packages
install_sdk_packages

step "formatting" formatting
step "lock file matches the manifests" lock_file
step "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
step "clippy of the nginx module" nginx_module
step "fuzz targets compile" fuzz_targets
step "docs and their links" docs
step "dependency policy" dependency_policy
step "security advisories" dependency_advisories
step "dashboard: format, lint, types" dashboard_lint
step "JavaScript SDK: format, lint, types" sdk_lint
step "examples of deployment: systemd, Kubernetes" scripts/deploy.sh
step "shell scripts" shell_scripts
step "tidy" node scripts/tidy.mjs
summary
