#!/usr/bin/env bash
# Puts a redis-server (or a valkey-server, where there is no Redis) into a folder of its own, from the packages of this machine's
# own Debian or Ubuntu, without installing anything, starting anything or touching a system folder. No root needed.
#
#   install-redis.sh TARGET_DIR
#
# Leaves TARGET_DIR/bin/redis-server, and prints KEY=VALUE lines. A second run with the same folder does nothing.
# REDIS_REFRESH=1 fetches again.
#
# How: apt, with a state folder of its own, fetches the package and the libraries it needs beyond the C library; they are
# unpacked side by side, and a start script shows the program where they lie.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 TARGET_DIR" >&2; exit 2; }
. "$(dirname "${BASH_SOURCE[0]}")/private-apt.sh"
mkdir -p "$1" 2>/dev/null || die "cannot make the folder $1"
target=$(cd "$1" && pwd -P)
[ -w "$target" ] || die "cannot write to $target"

report() {
  echo "REDIS_SERVER=$target/bin/redis-server"
  echo "REDIS_PACKAGES=$(tr '\n' ' ' <"$target/packages.txt")"
}

# Two runs at once: the second waits and finds the work done.
command -v flock >/dev/null || die "flock is missing: this needs Debian or Ubuntu"
exec 9>"$target/.lock"
flock 9
if [ -z "${REDIS_REFRESH:-}" ] && [ -s "$target/packages.txt" ] && "$target/bin/redis-server" --version >/dev/null 2>&1; then
  report
  exit 0
fi

# In the folder itself, and kept when this ends early: the next run goes on with what was downloaded.
work=$target/.work

# The C library is the machine's own: the packages come from the same suite. The others are wanted only when a package is configured.
private_apt_begin "$work" libc6 libc-bin adduser passwd debconf init-system-helpers lsb-base sysvinit-utils procps
private_apt update
name=redis-server
if ! (private_apt install --print-uris -y "$name") 2>/dev/null; then name=valkey-server; fi
private_apt_download "$name"
unpack_all "$work"

new=$work/new
mkdir -p "$new/bin" "$new/lib"
find "$work/root" -path '*/lib/*' -name 'lib*.so*' ! -name '*.py' -exec cp -a {} "$new/lib/" \;
cp -L "$work/root/usr/bin/$name" "$new/lib/$name"
chmod 755 "$new/lib/$name"
cat >"$new/bin/redis-server" <<START
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
LD_LIBRARY_PATH="\$here/../lib" exec "\$here/../lib/$name" "\$@"
START
chmod 755 "$new/bin/redis-server"
"$new/bin/redis-server" --version >&2 || die "the $name of $(tr '\n' ' ' <"$work/packages.txt")does not run on this machine"

rm -rf "$target/packages.txt" "$target/bin" "$target/lib"
mv "$new/lib" "$new/bin" "$target/"
# Last: only a folder that is whole has it.
cp "$work/packages.txt" "$target/packages.txt"
rm -rf "$work"
report
