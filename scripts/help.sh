#!/usr/bin/env bash
# Prints the targets of the Makefile with their one-line meaning, and the variables they understand.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

echo "peep: see every request of your services, live and exact."
echo
awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $1, $2 }' Makefile
cat <<'TEXT'

Variables for dev, up and demo:
  KAFKA=1        a real Apache Kafka as the log, each service as its own process
  PORT_OFFSET=n  adds n to every port (ingest 4318, dashboard and API 8080, admin 9464)
  DEMO=0         no demo load
  PROFILE=dev    a debug build: quicker to build, slower to run (default: release)
  DATABASE_URL   use this Postgres instead of a private one
TEXT
