#!/usr/bin/env bash
# make sdk-extra: scripts/sdk.sh with the examples that need minutes of building or hundreds of megabytes: those for tonic, Bun, Deno and
# Next.js. Not part of `make test`: what they share with the other examples is tested there.
set -euo pipefail
COMMAND="sdk-extra"
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
cd "$ROOT"

# As `make test` builds it.
export PROFILE=dev
require_tools curl compiler rust node postgres nginx chromium
cargo build --workspace --bins --locked
EXTRA=1 scripts/sdk.sh
