#!/usr/bin/env bash
# Makes the Debian that stands in for the official base images, which no registry of this project's checks has, and prints
# the path of its tar archive. Made once a week, so that it has Debian's security updates. Needs root and debootstrap.
#
#     test/containers/base.sh
set -euo pipefail

RELEASE=bookworm

folder=${XDG_CACHE_HOME:-$HOME/.cache}/ds-lora-containers
archive=$folder/$RELEASE-$(date +%G-%V).tar
mkdir -p "$folder"
# Who comes while it is being made waits for it.
exec 9> "$folder/lock"
flock 9
if [[ ! -f $archive ]]; then
  # In memory where there is enough: dpkg forces every file to the disk, which takes three times as long.
  place=${TMPDIR:-/tmp}
  if [[ -d /dev/shm && $(df --output=avail -m /dev/shm | tail -1) -gt 2000 ]]; then place=/dev/shm; fi
  work=$(mktemp -d "$place/ds-lora-base-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  rm -f "$folder"/*.tar
  debootstrap --variant=minbase "$RELEASE" "$work/root" > "$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    exit 1
  }
  rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
  tar --create --file "$archive.part" --directory "$work/root" .
  mv "$archive.part" "$archive"
fi
echo "$archive"
