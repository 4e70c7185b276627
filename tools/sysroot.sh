#!/bin/sh
# sysroot.sh FOLDER: Debian's libraries for arm64, unpacked into FOLDER and nowhere else: what CC=aarch64-linux-gnu-gcc --sysroot=FOLDER
# compiles against and qemu-aarch64 -L FOLDER runs with.  Needs no root: apt keeps its lists and files in a folder beside it.
set -eu
want="libc6-dev libssl-dev libxxhash-dev libutf8proc-dev libjansson-dev libedit-dev libevent-dev zlib1g-dev libcmocka-dev"
[ -e "$1/.complete" ] && exit 0
mkdir -p "$1"
root=$(cd "$1" && pwd)
apt=$root.apt
rm -rf "$root" "$apt"
mkdir -p "$root" "$apt/state/lists/partial" "$apt/cache/archives/partial"
: > "$apt/status"
cat > "$apt/conf" <<END
APT::Architecture "arm64";
APT::Architectures {"arm64";};
APT::Sandbox::User "";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
END
export APT_CONFIG="$apt/conf"
apt-get update -qq
apt-get install -y -qq --download-only --no-install-recommends $want >/dev/null
for p in "$apt"/cache/archives/*.deb; do dpkg -x "$p" "$root"; done
rm -rf "$apt"
touch "$root/.complete"
