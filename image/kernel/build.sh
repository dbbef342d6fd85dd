#!/usr/bin/env bash
# Rebuilds vmlinuz from the Debian source package pinned in source.env, with
# x86_64_defconfig and fragment.config. The same source, fragment and compiler
# give the same file. Called by `make kernel`; takes about 25 minutes of CPU.
#
# usage: build.sh [OUTPUT]     (default: vmlinuz beside this script)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "${1:-$here/vmlinuz}")
# shellcheck source=source.env
. "$here/source.env"
export SOURCE_DATE_EPOCH

work=$(mktemp -d "${TMPDIR:-/tmp}/bondd-kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The package comes from the mirror that this machine's apt already uses, with
# the suite replaced, through lists of its own: the machine's apt state stays
# as it is. What makes the download trustworthy is the SHA-256 in source.env.
fetch() {
	local mirror lists opts
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
		grep -m1 -E "/${KERNEL_SUITE#*-}/?\$|-${KERNEL_SUITE#*-}/?\$") || {
		echo "build.sh: apt on this machine has no ${KERNEL_SUITE#*-} mirror configured: add Debian's security archive to its sources" >&2
		return 1
	}
	lists=$work/apt
	mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $KERNEL_SUITE main" >"$lists/sources.list"
	opts=(-o "Dir::Etc::SourceList=$lists/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$lists/lists"
		-o "Dir::Cache=$lists/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none)
	apt-get "${opts[@]}" -qq update
	(cd "$work" && apt-get "${opts[@]}" -qq download "$KERNEL_PACKAGE=$KERNEL_VERSION")
}
# BONDD_KERNEL_DEB names a copy of the package that is already here.
if [ -n "${BONDD_KERNEL_DEB:-}" ]; then
	cp "$BONDD_KERNEL_DEB" "$work/$KERNEL_PACKAGE.deb"
else
	fetch
fi
deb=$(find "$work" -maxdepth 1 -name '*.deb')
echo "$KERNEL_SHA256  $deb" | sha256sum --check --quiet

dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$KERNEL_PACKAGE.tar.xz" | tar -xJ -C "$work"
cd "$work/$KERNEL_PACKAGE"

export KBUILD_BUILD_TIMESTAMP KBUILD_BUILD_USER=bondd KBUILD_BUILD_HOST=bondd KBUILD_BUILD_VERSION=1
KBUILD_BUILD_TIMESTAMP=$(date --utc --date "@$SOURCE_DATE_EPOCH")
export LC_ALL=C TZ=UTC
make -s x86_64_defconfig
scripts/kconfig/merge_config.sh -m .config "$here/fragment.config" >/dev/null
make -s olddefconfig

# An option that Kconfig dropped because something it depends on is off would
# only be noticed on the machine that needs it: refuse to build without it.
"$here/check-config.sh" "$here/fragment.config" .config

make -s -j"$(nproc)" bzImage
cp arch/x86/boot/bzImage "$out"
sha256sum "$out"
