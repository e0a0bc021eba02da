#!/usr/bin/env bash
# h2spec, the conformance suite of HTTP/2, against ingest: on the plain port and under TLS. Exits 0 when nothing failed but what
# docs/tls.md lists. The program is built from its Go module into the cache the first time; H2SPEC names another one.
set -euo pipefail
COMMAND=h2spec
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
cd "$ROOT"

H2SPEC_VERSION=v2.2.1+incompatible
# What it is built from, old enough for the Go of Debian 12 (1.19); its own tag names no versions.
H2SPEC_PARTS="github.com/fatih/color@v1.15.0 github.com/spf13/cobra@v1.7.0 golang.org/x/net@v0.17.0"

build_h2spec() {
  local dir
  dir=$(mktemp -d)
  (
    cd "$dir"
    go mod init h2spec-build
    # shellcheck disable=SC2086 # a list of words
    go get "github.com/summerwind/h2spec@$H2SPEC_VERSION" $H2SPEC_PARTS
    mkdir -p "$CACHE_DIR/bin"
    go build -mod=mod -o "$CACHE_DIR/bin/h2spec" github.com/summerwind/h2spec/cmd/h2spec
  ) >"$dir/log" 2>&1 || fail "h2spec does not build: $(tail -n 1 "$dir/log")" "see $dir/log, or name one with H2SPEC"
  rm -rf "$dir"
}

require_tools compiler rust postgres
if [ -z "${H2SPEC:-}" ] && ! command -v h2spec >/dev/null; then
  command -v go >/dev/null || fail "h2spec is not there, and no Go to build it with" "apt-get install golang, or name one with H2SPEC"
  say "Building h2spec"
  build_h2spec
fi
exec cargo run --quiet -p peep-hostile -- --case H09i
