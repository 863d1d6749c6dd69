# Sourced by the install scripts beside it: apt with lists, cache and package state of its own, so that packages can be resolved,
# downloaded and checked as always (signatures, hashes) without changing the machine, and without being root.
#
#   private_apt_begin WORK_DIR STAND_IN...   makes the folder empty but for what an earlier run downloaded; the stand-ins count as
#                                            installed, whatever is on the machine
#   private_apt ARGUMENTS...                 apt-get; one line of reason and exit 1 when it fails
#   private_apt_download PACKAGE...          with all they need; how many bytes that is goes into WORK_DIR/download-bytes first
#   unpack_all WORK_DIR                      all downloaded packages into WORK_DIR/root, names and versions into WORK_DIR/packages.txt
#
# apt_sources may name a sources list instead of the machine's own.

die() {
  echo "$(basename "$0"): $1" >&2
  exit 1
}

private_apt_begin() {
  apt_work=$1
  shift
  for tool in apt-get apt-config dpkg dpkg-deb; do
    command -v "$tool" >/dev/null || die "$tool is missing: this needs Debian or Ubuntu"
  done
  apt_state=$apt_work/apt
  rm -rf "$apt_work/root" "$apt_work/new" "$apt_work/download-bytes" "$apt_state/lists" "$apt_state/parts"
  mkdir -p "$apt_state/lists/partial" "$apt_state/cache/archives/partial" "$apt_state/parts" "$apt_state/none"
  for name in "$@"; do
    printf 'Package: %s\nStatus: install ok installed\nVersion: 9999\nArchitecture: %s\nMulti-Arch: foreign\nMaintainer: none <none@localhost>\nDescription: stand-in\n\n' \
      "$name" "$(dpkg --print-architecture)"
  done >"$apt_state/status"
  # The machine's own configuration (a proxy, for instance), but none of its hooks: they work on system folders.
  local machine_parts part
  machine_parts=$(apt-config shell dir Dir::Etc::parts/d | sed "s/^dir='\(.*\)'$/\1/")
  for part in "${machine_parts:-/etc/apt/apt.conf.d/}"/*; do
    if [ -r "$part" ] && ! grep -q 'Invoke\|Pre-Install' "$part"; then cp "$part" "$apt_state/parts/"; fi
  done
  echo "Dir::Etc::parts \"$apt_state/parts\";" >"$apt_state/apt.conf"
}

private_apt() {
  local options=(
    -o "Dir::State=$apt_state" -o "Dir::State::status=$apt_state/status" -o "Dir::State::lists=$apt_state/lists"
    -o "Dir::Cache=$apt_state/cache" -o APT::Sandbox::User= -o Acquire::Languages=none -o Acquire::Retries=3
    -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o APT::Update::Error-Mode=any
    -o APT::Install-Recommends=false -o APT::Install-Suggests=false -o Debug::NoLocking=true
  )
  if [ -n "${apt_sources:-}" ]; then
    options+=(
      -o "Dir::Etc::sourcelist=$apt_sources" -o "Dir::Etc::sourceparts=$apt_state/none"
      -o Dir::Etc::preferences=/dev/null -o "Dir::Etc::preferencesparts=$apt_state/none"
    )
  fi
  APT_CONFIG=$apt_state/apt.conf DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q "${options[@]}" "$@" >"$apt_work/apt.log" 2>&1 ||
    die "apt-get $1 failed: $(grep -m1 '^E:' "$apt_work/apt.log" || tail -n1 "$apt_work/apt.log")"
}

private_apt_download() {
  local archives=$apt_state/cache/archives kept=$apt_work/kept uri name size sum total=0
  # apt trusts a package that lies in its cache with the right size. What an earlier run has left there is looked at first.
  mkdir -p "$kept"
  find "$archives" -maxdepth 1 -name '*.deb' -exec mv -f -t "$kept" {} +
  private_apt install --print-uris -y -o Acquire::ForceHash=SHA256 "$@"
  while read -r uri name size sum; do
    total=$((total + size))
    if [ -e "$kept/$name" ] && [ "SHA256:$(sha256sum "$kept/$name" | cut -d ' ' -f 1)" = "$sum" ]; then mv "$kept/$name" "$archives/"; fi
  done < <(grep "^'" "$apt_work/apt.log")
  rm -rf "$kept"
  echo "$total" >"$apt_work/download-bytes"
  private_apt install -y --download-only "$@"
}

unpack_all() {
  mkdir -p "$1/root"
  : >"$1/packages.txt"
  local deb
  for deb in "$apt_state"/cache/archives/*.deb; do
    dpkg-deb -x "$deb" "$1/root"
    dpkg-deb -f "$deb" Package Version | sed 's/^[^:]*: //' | paste -sd= >>"$1/packages.txt"
  done
}
