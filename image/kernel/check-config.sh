#!/usr/bin/env bash
# Prints every option of a fragment that a kernel configuration does not have
# as the fragment says it; exits 1 if there is one.
#
# usage: check-config.sh FRAGMENT CONFIG
set -euo pipefail
bad=0
while read -r line; do
	case $line in
	CONFIG_*) grep -qxF "$line" "$2" || { echo "missing: $line"; bad=1; } ;;
	"# CONFIG_"*" is not set")
		option=${line#\# } option=${option% is not set}
		! grep -q "^$option=" "$2" || { echo "not off: $(grep "^$option=" "$2")"; bad=1; } ;;
	esac
done <"$1"
exit $bad
