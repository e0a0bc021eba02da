#!/usr/bin/env bash
# The examples in deploy/ are what systemd, Kubernetes and nginx understand: a name with a typing error in it would be passed over
# in silence where it is used. Part of `make check`; says what it could not judge.
set -euo pipefail
COMMAND=deploy
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")/lib" && pwd)
# shellcheck source=scripts/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=scripts/lib/layout.sh
. "$LIB/layout.sh"
# shellcheck source=scripts/lib/tools.sh
. "$LIB/tools.sh"
# shellcheck source=scripts/lib/suite.sh
. "$LIB/suite.sh"
cd "$ROOT"

REQUIREMENTS=$ROOT/scripts/deploy/requirements.txt
# The oldest and the newest version that the validator brings.
KUBERNETES_VERSIONS="1.33.0 1.37.0"
# What `systemd-analyze security` finds exposed, in tenths: the unit is at 22.
EXPOSURE_MAX=25
PATH=$PATH:/usr/sbin:/sbin

# Once for each pinned version; what was installed only half is not there.
install_validator() {
  TOOLS=$CACHE_DIR/deploy/python-$(cksum <"$REQUIREMENTS" | cut -d ' ' -f 1)
  if [ -e "$TOOLS/complete" ]; then return; fi
  rm -rf "$TOOLS"
  python3 -m venv "$TOOLS"
  "$TOOLS/bin/pip" install --quiet --disable-pip-version-check --requirement "$REQUIREMENTS"
  touch "$TOOLS/complete"
}

# Unknown settings are warnings to systemd, and mistakes here.
systemd_units() {
  local said
  if ! command -v systemd-analyze >/dev/null; then skip "no systemd-analyze here"; fi
  # The program of the unit is not installed; everything else is as it stands there.
  sed 's|^ExecStart=/usr/bin/peep|ExecStart=/bin/true|' deploy/systemd/peep-ship.service >"$SCRATCH/peep-ship.service"
  said=$(systemd-analyze verify "$SCRATCH/peep-ship.service" 2>&1) || true
  if [ -n "$said" ]; then
    echo "$said"
    return 1
  fi
  systemd-analyze security --no-pager --offline=true --threshold="$EXPOSURE_MAX" "$SCRATCH/peep-ship.service" >"$SCRATCH/exposure" || {
    cat "$SCRATCH/exposure"
    return 1
  }
  tail -n 1 "$SCRATCH/exposure"
}

kubernetes_manifests() {
  local version
  install_validator
  for version in $KUBERNETES_VERSIONS; do
    "$TOOLS/bin/kubernetes-validate" --strict --kubernetes-version "$version" deploy/kubernetes/*.yaml
  done
  # It would have found a mistake.
  sed 's/terminationGracePeriodSeconds/terminationGracePeriodSecond/' deploy/kubernetes/sidecar.yaml >"$SCRATCH/wrong.yaml"
  if "$TOOLS/bin/kubernetes-validate" --strict --quiet "$SCRATCH/wrong.yaml" >/dev/null 2>&1; then
    echo "the validator takes a field that does not exist"
    return 1
  fi
}

# The configuration inside the sidecar's ConfigMap.
nginx_in_a_config_map() {
  if ! have_nginx; then skip "no nginx here"; fi
  install_validator
  mkdir -p "$SCRATCH/logs"
  "$TOOLS/bin/python" - deploy/kubernetes/sidecar.yaml >"$SCRATCH/default.conf" <<'PYTHON'
import sys, yaml
for document in yaml.safe_load_all(open(sys.argv[1])):
    if document["kind"] == "ConfigMap":
        print(document["data"]["default.conf"])
PYTHON
  sed -i.bak "s|/logs/|$SCRATCH/logs/|" "$SCRATCH/default.conf"
  printf 'pid %s/nginx.pid; error_log stderr; events {} http { include %s/default.conf; }\n' "$SCRATCH" "$SCRATCH" >"$SCRATCH/nginx.conf"
  nginx -t -q -p "$SCRATCH" -c "$SCRATCH/nginx.conf"
}

make_log_dir
require_tools python
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/peep-deploy.XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT
step "systemd unit" systemd_units
step "Kubernetes manifests" kubernetes_manifests
step "nginx in the sidecar's ConfigMap" nginx_in_a_config_map
summary
