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

require_tools compiler rust postgres go h2spec
exec cargo run --quiet -p peep-hostile -- --case H09i
