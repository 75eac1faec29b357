#!/bin/sh
# Installs the openshell-gateway executable for this machine, after checking its SHA-256 sum.
#   OPENSHELL_INSTALL_DIR   where to put it; default ~/.local/bin
#   OPENSHELL_DOWNLOAD_URL  where the release files are; default: the release this script belongs to, or, when it lies
#                           beside its files, its own directory
# The sums are part of this script: whoever got the script from a trusted place needs to trust nothing else.
set -eu

VERSION='@VERSION@'
DEFAULT_URL='@URL@'
SUMS='@SUMS@'

fail() { printf 'install.sh: %s\n' "$1" >&2; exit 1; }

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64 | Linux-amd64)
    triple=x86_64-unknown-linux-gnu
    # musl has its loader under this name; a system with both libraries takes the glibc file.
    if [ -e /lib/ld-musl-x86_64.so.1 ] && [ ! -e /lib64/ld-linux-x86-64.so.2 ]; then triple=x86_64-unknown-linux-musl; fi ;;
  Linux-aarch64 | Linux-arm64)
    triple=aarch64-unknown-linux-gnu
    if [ -e /lib/ld-musl-aarch64.so.1 ] && [ ! -e /lib/ld-linux-aarch64.so.1 ]; then
      fail 'there is no executable for Linux with musl on this processor'
    fi ;;
  Darwin-arm64) triple=aarch64-apple-darwin ;;
  *) fail "there is no executable for $(uname -s) on $(uname -m)" ;;
esac
file="openshell-gateway-$triple.tar.gz"

expected=$(printf '%s\n' "$SUMS" | while read -r sum name; do [ "$name" != "$file" ] || printf '%s' "$sum"; done)
[ -n "$expected" ] || fail "this script knows no sum for $file"

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
trap 'exit 130' INT TERM

url=${OPENSHELL_DOWNLOAD_URL:-$DEFAULT_URL}
beside=$(dirname "$0")/$file
if [ -z "${OPENSHELL_DOWNLOAD_URL:-}" ] && [ -f "$beside" ]; then
  cp "$beside" "$temporary/$file"
elif [ -z "$url" ]; then
  fail "$file is not beside this script; set OPENSHELL_DOWNLOAD_URL"
elif command -v curl >/dev/null 2>&1; then
  curl --fail --silent --show-error --location --proto '=https,http,file' --proto-redir '=https' \
    --output "$temporary/$file" "$url/$file" || fail "cannot download $url/$file"
elif command -v wget >/dev/null 2>&1; then
  wget --quiet --output-document "$temporary/$file" "$url/$file" || fail "cannot download $url/$file"
else
  fail 'neither curl nor wget is here'
fi

if command -v sha256sum >/dev/null 2>&1; then actual=$(sha256sum "$temporary/$file")
elif command -v shasum >/dev/null 2>&1; then actual=$(shasum -a 256 "$temporary/$file")
else fail 'neither sha256sum nor shasum is here, so the file cannot be checked'
fi
actual=${actual%% *}
[ "$actual" = "$expected" ] || fail "$file is not the file of this release: its sum is $actual, not $expected"

directory=${OPENSHELL_INSTALL_DIR:-$HOME/.local/bin}
mkdir -p "$directory"
tar -xzf "$temporary/$file" -C "$temporary" openshell-gateway
chmod 0755 "$temporary/openshell-gateway"
# Beside the old one first: a gateway that runs from it is not disturbed, and a reader never sees half a file.
mv "$temporary/openshell-gateway" "$directory/.openshell-gateway.new"
mv -f "$directory/.openshell-gateway.new" "$directory/openshell-gateway"
printf 'installed openshell-gateway %s as %s/openshell-gateway\n' "$VERSION" "$directory"
case ":$PATH:" in
  *":$directory:"*) ;;
  *) printf '%s is not in your PATH\n' "$directory" ;;
esac
