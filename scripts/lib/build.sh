# shellcheck shell=bash
# Builds what runs: the dashboard's static files, then the `peep` binary (which embeds them) and the load generator.

# fingerprint FOLDER: changes whenever a file that goes into the build does. Contents, not times: a branch switch and back is
# no change.
fingerprint() {
  find "$1" \( -name node_modules -o -name out -o -name .next -o -name e2e -o -name dev \) -prune -o \
    -type f ! -name '*.tsbuildinfo' ! -name next-env.d.ts ! -name '*.test.ts*' -print0 |
    LC_ALL=C sort -z | xargs -0 cksum | cksum
}

# install_dashboard_packages: when the lock file has changed. The stamps lie in node_modules, so that deleting it starts over.
install_dashboard_packages() {
  local dir=$ROOT/dashboard lock
  lock=$(cksum <"$dir/package-lock.json")
  if [ "$(cat "$dir/node_modules/.peep-installed" 2>/dev/null)" = "$lock" ]; then return 0; fi
  with_progress "installing the dashboard's packages" "$LOG_DIR/build-dashboard.log" npm ci --prefix "$dir" --no-audit --no-fund ||
    fail "npm could not install the dashboard's packages" "read $LOG_DIR/build-dashboard.log"
  echo "$lock" >"$dir/node_modules/.peep-installed"
}

# install_sdk_packages: what the tests of the JavaScript SDK run against.
install_sdk_packages() {
  local dir=$ROOT/sdk/js lock
  lock=$(cksum <"$dir/package-lock.json")
  if [ "$(cat "$dir/node_modules/.peep-installed" 2>/dev/null)" = "$lock" ]; then return 0; fi
  with_progress "installing the packages of the JavaScript SDK" "$LOG_DIR/build-sdk.log" \
    npm ci --prefix "$dir" --no-audit --no-fund --ignore-scripts ||
    fail "npm could not install the packages of the JavaScript SDK" "read $LOG_DIR/build-sdk.log"
  echo "$lock" >"$dir/node_modules/.peep-installed"
}

# install_sdk_runtimes: Bun and Deno, for the examples that are theirs. They do not install everywhere; the tests skip what is not there.
install_sdk_runtimes() {
  local dir=$ROOT/sdk/js/test/runtimes lock
  lock=$(cksum <"$dir/package-lock.json")
  if [ "$(cat "$dir/node_modules/.peep-installed" 2>/dev/null)" = "$lock" ]; then return 0; fi
  # With its scripts: Bun's puts the program into its place.
  if with_progress "installing Bun and Deno" "$LOG_DIR/build-sdk.log" npm ci --prefix "$dir" --no-audit --no-fund; then
    echo "$lock" >"$dir/node_modules/.peep-installed"
  else
    warn "Bun and Deno do not install here, so their examples are not run ($LOG_DIR/build-sdk.log)"
  fi
}

# build_dashboard: `npm run build`, when a source has changed.
build_dashboard() {
  local dir=$ROOT/dashboard
  install_dashboard_packages
  if [ -f "$dir/out/index.html" ] && [ "$(cat "$dir/node_modules/.peep-built" 2>/dev/null)" = "$(fingerprint "$dir")" ]; then return 0; fi
  with_progress "building the dashboard" "$LOG_DIR/build-dashboard.log" env NEXT_TELEMETRY_DISABLED=1 npm run build --prefix "$dir" ||
    fail "the dashboard does not build" "read $LOG_DIR/build-dashboard.log"
  # Taken after the build, which may itself write sources (types, hashes).
  fingerprint "$dir" >"$dir/node_modules/.peep-built"
}

# build_nginx_module: against the nginx that is installed. Nothing of nginx is compiled: what `configure` writes, its headers need.
# Sets MODULE.
build_nginx_module() {
  with_progress "building the nginx module" "$LOG_DIR/build-nginx-module.log" cargo_nginx_module build --release ||
    fail "the nginx module does not build" "read $LOG_DIR/build-nginx-module.log"
  # shellcheck disable=SC2034 # for whoever called
  MODULE=${CARGO_TARGET_DIR:-$ROOT/target}/nginx-module/target/release/libngx_http_peep_module.so
}

# cargo_nginx_module COMMAND [OPTION...]: cargo, which knows best whether there is anything to do, with the headers configured.
cargo_nginx_module() {
  local folder=${CARGO_TARGET_DIR:-$ROOT/target}/nginx-module source=/usr/share/nginx/src version command=$1
  shift
  version=$({ nginx -V 2>&1 && cat "$source/conf_flags"; } | cksum)
  if [ "$(cat "$folder/objs/.peep-configured" 2>/dev/null)" != "$version" ]; then
    rm -rf "$folder/objs"
    (configure_nginx "$source" "$folder/objs") || return
    echo "$version" >"$folder/objs/.peep-configured"
  fi
  NGINX_SOURCE_DIR=$source NGINX_BUILD_DIR=$folder/objs cargo "$command" --locked \
    --manifest-path "$ROOT/nginx-module/Cargo.toml" --target-dir "$folder/target" "$@"
}

# configure_nginx SOURCE OBJS: as the distribution did, or nginx would call the module not binary compatible.
configure_nginx() {
  mkdir -p "$2"
  cd "$1" || return
  NGX_CONF_FLAGS=()
  # shellcheck source=/dev/null
  . ./conf_flags
  ./configure --with-cc-opt="-g -O2 -fPIC" --with-ld-opt=-fPIC "${NGX_CONF_FLAGS[@]}" --builddir="$2"
}

# build_binaries: cargo shows its own progress, and nothing when there is nothing to do. PREBUILT=1: `make test` has built the workspace; to build a
# part of it with other features would compile most of it a second time.
build_binaries() {
  if [ "${PREBUILT:-0}" = 1 ] && [ -x "$BIN_DIR/peep" ] && [ -x "$BIN_DIR/peep-load" ]; then return; fi
  local flags='' before=$SECONDS
  if [ "$PROFILE" = release ]; then flags=--release; fi
  if [ ! -x "$BIN_DIR/peep" ]; then say "Building peep ($PROFILE); the first time takes several minutes"; fi
  # shellcheck disable=SC2086 # empty or one flag
  (cd "$ROOT" && cargo build $flags --package peep --bin peep --package peep-benches --bin peep-load) ||
    fail "peep does not build" "the compiler's message is above"
  if [ $((SECONDS - before)) -gt 5 ]; then note "built in $((SECONDS - before)) s"; fi
}
