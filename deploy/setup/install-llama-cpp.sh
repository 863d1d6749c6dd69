#!/usr/bin/env bash
# Puts a real llama.cpp (llama-server and its RPC server) into a folder of its own, from Debian's packages, without touching what
# is installed on the machine. No root needed.
#
#   install-llama-cpp.sh TARGET_DIR
#
# Leaves TARGET_DIR/bin/llama-server and TARGET_DIR/bin/rpc-server, and prints their paths as KEY=VALUE lines. A second run with
# the same folder does nothing. LLAMA_CPP_SUITE names the Debian suite (default: sid); LLAMA_CPP_REFRESH=1 fetches again.
#
# How: apt, with a state folder of its own, fetches the packages with everything they need, their own C library too; they are
# unpacked, never installed; then the programs are told to use the unpacked loader and libraries. The folder cannot be moved
# afterwards: the loader's path stands in the programs. A run for the new place notices and does the work again.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 TARGET_DIR" >&2; exit 2; }
. "$(dirname "${BASH_SOURCE[0]}")/private-apt.sh"
mkdir -p "$1" 2>/dev/null || die "cannot make the folder $1"
target=$(cd "$1" && pwd -P)
[ -w "$target" ] || die "cannot write to $target"
suite=${LLAMA_CPP_SUITE:-sid}

report() {
  echo "LLAMA_SERVER=$target/bin/llama-server"
  echo "RPC_SERVER=$target/bin/rpc-server"
  echo "LLAMA_CPP_PACKAGES=$(tr '\n' ' ' <"$target/packages.txt")"
}

# Two runs at once: the second waits and finds the work done.
command -v flock >/dev/null || die "flock is missing: this needs Debian"
exec 9>"$target/.lock"
flock 9
if [ -z "${LLAMA_CPP_REFRESH:-}" ] && [ -s "$target/packages.txt" ] &&
   [ "$(cat "$target/.prefix" 2>/dev/null)" = "$target" ] && "$target/bin/llama-server" --version >/dev/null 2>&1; then
  report
  exit 0
fi

# In the folder itself, and kept when this ends early: the next run goes on with what was downloaded.
work=$target/.work

# Stand-ins for what is wanted only when a package is configured, or to fetch models: they keep a dozen libraries away.
private_apt_begin "$work" debconf curl wget

# The archive that this machine uses already: its first source that is not a security one.
archive=$(apt-get --print-uris update 2>/dev/null | sed -n "s|^'\([^']*\)/dists/.*|\1|p" | grep -v security | sed -n 1p || true)
[ -n "$archive" ] || die "no Debian archive in this machine's apt configuration"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] && signed="[signed-by=$keyring] " || signed=""
apt_sources=$apt_state/sources.list
echo "deb $signed$archive $suite main" >"$apt_sources"

private_apt update
private_apt_download llama.cpp-tools llama.cpp-tools-extra libggml0-backend-rpc patchelf
unpack_all "$work"
root=$work/root

# One flat folder: ggml looks for its backends in the folder of the running program.
new=$work/new
mkdir -p "$new/bin" "$new/lib"
triplet_dir=$(dirname "$(find "$root/usr/lib" -name 'libggml-base.so.0' -print -quit)")
find "$triplet_dir" -maxdepth 1 \( -name '*.so' -o -name '*.so.*' \) -exec cp -a {} "$new/lib/" \;
find "$triplet_dir/ggml" "$triplet_dir/llama" \( -name 'libggml-*.so' -o -name 'libllama-server-impl.so' \) -exec cp -a {} "$new/lib/" \;
cp "$root/usr/bin/llama-server" "$new/lib/llama-server"
rpc=$(find "$root/usr" -type f \( -name ggml-rpc-server -o -name rpc-server -o -name llama-rpc-server \) -print -quit)
[ -n "$rpc" ] || die "the packages of $suite hold no RPC server"
cp "$rpc" "$new/lib/rpc-server"
loader=$(basename "$(find "$triplet_dir" -maxdepth 1 -name 'ld-linux*' -print -quit)")

# Not "loader program": llama-server starts its children from /proc/self/exe, which would be the loader.
patch() { "$new/lib/$loader" --library-path "$new/lib" "$root/usr/bin/patchelf" "$@"; }
find "$new/lib" -type f \( -name 'libllama*' -o -name 'libggml*' -o -name 'libmtmd*' \) | while read -r library; do
  patch --force-rpath --set-rpath '$ORIGIN' "$library"
done
for name in llama-server rpc-server; do
  patch --set-interpreter "$target/lib/$loader" --force-rpath --set-rpath '$ORIGIN' "$new/lib/$name"
  printf '#!/bin/sh\nexec "%s/lib/%s" "$@"\n' "$target" "$name" >"$new/bin/$name"
  chmod 755 "$new/lib/$name" "$new/bin/$name"
done

rm -rf "$target/packages.txt" "$target/.prefix" "$target/bin" "$target/lib"
mv "$new/lib" "$new/bin" "$target/"
"$target/bin/llama-server" --version >&2 || die "llama-server of $suite does not run on this machine"
case $("$target/bin/rpc-server" --help 2>&1) in
  *--port*) ;;
  *) die "the RPC server of $suite does not run on this machine" ;;
esac
# Last: only a folder that is whole has them.
printf '%s' "$target" >"$target/.prefix"
cp "$work/packages.txt" "$target/packages.txt"
rm -rf "$work"
report
