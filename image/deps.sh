#!/usr/bin/env bash
# Installs the programs that building, running and testing the image call and
# that this machine lacks. Does nothing where all is there.
#
# usage: deps.sh            for everything but the kernel
#        deps.sh kernel     for rebuilding the kernel
set -euo pipefail

# What is called, and the Debian package that brings it. A path is looked for as a file.
case "${1:-}" in
"") needs=(
	qemu-system-x86_64:qemu-system-x86
	qemu-img:qemu-utils
	/usr/share/OVMF/OVMF_CODE_4M.fd:ovmf
	mkfs.ext4:e2fsprogs
	debugfs:e2fsprogs
	ip:iproute2
	bridge:iproute2
	chrt:util-linux
	teamd:libteam-utils
	/usr/sbin/dhcpcd:dhcpcd-base
	arping:iputils-arping
	chromium:chromium
	prometheus:prometheus
	promtool:prometheus
	git:git
	gcc:gcc
	/usr/include/stdlib.h:libc6-dev
) ;;
kernel) needs=(
	gcc:gcc
	make:make
	bc:bc
	flex:flex
	bison:bison
	xz:xz-utils
	/usr/include/libelf.h:libelf-dev
	/usr/include/openssl/ssl.h:libssl-dev
) ;;
*)
	echo "usage: deps.sh [kernel]" >&2
	exit 2
	;;
esac

PATH=$PATH:/usr/sbin:/sbin
packages=()
for need in "${needs[@]}"; do
	what=${need%:*} package=${need##*:}
	if [[ $what = /* ]]; then [ -e "$what" ] && continue; else command -v "$what" >/dev/null && continue; fi
	[[ " ${packages[*]-} " = *" $package "* ]] || packages+=("$package")
done

if ! command -v go >/dev/null; then
	echo "deps.sh: Go is missing: install Go 1.26 or newer from https://go.dev/dl/" >&2
	exit 1
fi
[ ${#packages[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "deps.sh: this is not a Debian machine. Install what these Debian packages bring: ${packages[*]}" >&2
	exit 1
fi
sudo=()
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || {
		echo "deps.sh: run as root: apt-get install --no-install-recommends ${packages[*]}" >&2
		exit 1
	}
	sudo=(sudo)
fi
echo "deps.sh: installing ${packages[*]}"
# A download may break off; apt goes on where it was.
for try in 1 2 3; do
	if "${sudo[@]}" apt-get -qq update &&
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${packages[@]}" >/dev/null; then
		break
	fi
	[ $try -lt 3 ] || exit 1
	sleep 5
done
# The tests start a Prometheus of their own; the one that Debian's package runs
# as a service is not wanted on a machine that did not have it before.
if [[ " ${packages[*]} " = *" prometheus "* ]] && [ -d /run/systemd/system ]; then
	"${sudo[@]}" systemctl disable --now prometheus || true
fi
