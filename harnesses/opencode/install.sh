#!/usr/bin/env bash
# Installs opencode into <target>, which ends with <target>/bin/opencode. Repeatable: what is already there is left alone.
# Needs npm (that of Node 20 will do) and its registry. The npm package is only a wrapper; the platform's own package holds the
# self-contained program, and is all that is kept.
set -euo pipefail

version=1.18.33

if [ $# -ne 1 ]; then
  echo "usage: $0 <target folder>" >&2
  exit 2
fi
target=$1

if [ "$("$target/bin/opencode" --version 2>/dev/null || true)" = "$version" ]; then
  exit 0
fi

case "$(uname -m)" in
  x86_64)
    package=opencode-linux-x64
    # Without AVX2 only the baseline build runs.
    grep -q -m 1 -w avx2 /proc/cpuinfo || package=opencode-linux-x64-baseline
    ;;
  aarch64) package=opencode-linux-arm64 ;;
  *)
    echo "opencode has no build for $(uname -m)" >&2
    exit 1
    ;;
esac

mkdir -p "$(dirname "$target")"
fresh=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$fresh"' EXIT

# By its own name npm also takes it where the wrapper would choose another.
npm install --prefix "$fresh" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error "$package@$version" >&2

mkdir "$fresh/bin"
mv "$fresh/node_modules/$package/bin/opencode" "$fresh/bin/opencode"
chmod 0755 "$fresh" "$fresh/bin" "$fresh/bin/opencode"
rm -rf "$fresh/node_modules" "$fresh/package.json" "$fresh/package-lock.json"

found=$("$fresh/bin/opencode" --version)
if [ "$found" != "$version" ]; then
  echo "installed opencode says that it is $found, not $version" >&2
  exit 1
fi

# Only a whole installation ever stands at the target.
rm -rf "$target"
mv "$fresh" "$target"
trap - EXIT
