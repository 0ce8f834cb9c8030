#!/bin/sh
# Installs picoclaw: downloads the archive for this machine, compares its SHA-256, and puts the program into a folder.
#   sh install.sh [--dry-run] [--to FOLDER] [--target NAME]
# PICOCLAW_URL is the folder on the web (or file:///…) that holds the release.
set -eu

url=${PICOCLAW_URL:-@URL@}
to=
target=
dry=

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\ntry: %s\n' "$1" "$2" >&2; exit 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=1 ;;
    --to) [ $# -gt 1 ] || fail "--to has no folder" "sh install.sh --to /usr/local/bin"; to=$2; shift ;;
    --target) [ $# -gt 1 ] || fail "--target has no name" "sh install.sh --target linux-arm64"; target=$2; shift ;;
    -h|--help) sed -n '2,4s/^# *//p' "$0"; exit 0 ;;
    *) fail "there is no option $1" "sh install.sh --help" ;;
  esac
  shift
done
case $url in @*) fail "no address of a release is known" "PICOCLAW_URL=https://… sh install.sh" ;; esac

# A glibc system may have the package of musl, too.
is_musl() {
  getconf GNU_LIBC_VERSION >/dev/null 2>&1 && return 1
  for each in /lib/ld-musl-*; do [ -e "$each" ] && return 0; done
  return 1
}

find_target() {
  case $(uname -s) in
    Linux) system=linux ;;
    Darwin) system=darwin ;;
    *) fail "there is no binary for $(uname -s)" "on Windows, unpack picoclaw-windows-x64.tar.gz" ;;
  esac
  case $(uname -m) in
    x86_64|amd64) processor=x64 ;;
    aarch64|arm64) processor=arm64 ;;
    armv6*|armv7*|armv8l|arm) fail "there is no binary for 32-bit ARM" "a 64-bit system (Raspberry Pi 3 and newer), or npm install -g picoclaw with node 22.18 or newer" ;;
    *) fail "there is no binary for $(uname -m)" "npm install -g picoclaw, with node 22.18 or newer" ;;
  esac
  # A 64-bit kernel may carry 32-bit programs only: Raspberry Pi OS did so for years.
  if [ "$system" = linux ] && [ "$(getconf LONG_BIT 2>/dev/null || echo 64)" = 32 ]; then
    fail "this system is 32-bit on a 64-bit processor" "a 64-bit system, or npm install -g picoclaw with node 22.18 or newer"
  fi
  target=$system-$processor
  if [ "$target" = linux-x64 ] && ! grep -q '\bavx2\b' /proc/cpuinfo; then target=$target-baseline; fi
  if [ "$system" = linux ] && is_musl; then target=$target-musl; fi
}

fetch() {
  if command -v curl >/dev/null 2>&1; then curl -fsSL --connect-timeout 20 --max-time 900 -o "$2" "$1"
  elif command -v wget >/dev/null 2>&1; then wget -q -T 60 -O "$2" "$1"
  else fail "neither curl nor wget is here" "install curl"
  fi || fail "$1 cannot be downloaded" "look at the address and the network, then run this again"
}

sum_of() {
  if command -v sha256sum >/dev/null 2>&1; then sum=$(sha256sum "$1")
  elif command -v shasum >/dev/null 2>&1; then sum=$(shasum -a 256 "$1")
  else fail "neither sha256sum nor shasum is here" "install coreutils"
  fi
  say "${sum%% *}"
}

[ -n "$target" ] || find_target
if [ -z "$to" ]; then
  if [ "$(id -u)" = 0 ]; then to=/usr/local/bin; else to=$HOME/.local/bin; fi
fi
archive=picoclaw-$target.tar.gz
work=$(mktemp -d)
# A copy that a full disk broke off would keep it full.
trap 'rm -rf "$work" "$to/.picoclaw.$$"' EXIT
trap 'exit 130' INT TERM
fetch "$url/SHA256SUMS" "$work/SHA256SUMS"
wanted=$(awk -v name="$archive" '$2 == name { print $1 }' "$work/SHA256SUMS")
[ -n "$wanted" ] || fail "the release at $url has no $archive" "--target with a name out of $url/SHA256SUMS"
say "target   $target"
say "archive  $url/$archive"
say "sha256   $wanted"
say "program  $to/picoclaw"
if [ -n "$dry" ]; then say "nothing was downloaded or installed (--dry-run)"; exit 0; fi

fetch "$url/$archive" "$work/$archive"
is=$(sum_of "$work/$archive")
[ "$is" = "$wanted" ] || fail "the SHA-256 of $archive is $is" "download again; if it stays so, do not use the file and tell who made the release"
tar -xzf "$work/$archive" -C "$work"
new=$work/picoclaw-$target/picoclaw
version=$("$new" --version) || fail "the program does not run here" "--target with another name out of $url/SHA256SUMS"
mkdir -p "$to"
# The last step is a rename, so that a gateway that runs keeps its file and nobody sees half of one.
cp "$new" "$to/.picoclaw.$$" && chmod 755 "$to/.picoclaw.$$" && mv -f "$to/.picoclaw.$$" "$to/picoclaw" ||
  fail "$to cannot be written" "sh install.sh --to FOLDER, or run it as root"
say "installed $version"
case :$PATH: in *:"$to":*) ;; *) say "add $to to PATH, now and in the profile of your shell: export PATH=\"$to:\$PATH\"" ;; esac
say "next: picoclaw try"
