#!/bin/sh
# Runs a musl binary for x64 on a glibc system: sh run-musl.sh PROGRAM [word…]
# Debian has musl, but no libstdc++ for it. The binary needs a few functions of one: they come out of the static
# library of gcc, and what that wants of glibc is below. C++ exceptions find no handler: enough for a smoke run.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/glibc.c" <<'C'
long syscall(long, ...);
void *__dso_handle = &__dso_handle;
char __libc_single_threaded = 0;
int _dl_find_object(void *address, void *result) { return -1; }
unsigned arc4random(void) { unsigned value; syscall(318, &value, sizeof value, 0); return value; }
C
loader=/lib/ld-musl-x86_64.so.1
symbols() { readelf -W --dyn-syms "$1"; }
symbols "$loader" | awk '$7 != "UND" { print $8 }' | sort -u >"$work/has"
symbols "$1" | awk '$7 == "UND" && $5 != "WEAK" { sub(/@.*/, "", $8); print $8 }' | sort -u >"$work/wants"
set -- "$work" "$@"
classes=$(for kind in 17__class 20__si_class 21__vmi_class; do echo "-Wl,-u,_ZTVN10__cxxabiv1${kind}_type_infoE"; done)
missing=$(comm -23 "$work/wants" "$work/has" | sed 's/^/-Wl,-u,/')
# shellcheck disable=SC2086
gcc -shared -fPIC -nostdlib -o "$work/libstdc++.so.6" -Wl,-soname,libstdc++.so.6 "$work/glibc.c" $classes $missing \
  "$(gcc -print-file-name=libstdc++.a)" "$(gcc -print-file-name=libgcc_eh.a)" "$(gcc -print-file-name=libgcc.a)" "$loader"
shift
"$loader" --library-path "$work" "$@"
