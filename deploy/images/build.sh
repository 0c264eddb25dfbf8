#!/usr/bin/env bash
# Builds rewardloop:slim and rewardloop:torch (`make images`; TARGETS=slim builds one), by docker, or by buildah where there is none.
# BASE_IMAGE names another base; BASE_IMAGE=debootstrap makes one from Debian's packages, for machines without an image registry.
# CA_FILE names certificates to trust while it builds, where a proxy signs for others.
# STORAGE_DRIVER is that of buildah's store: vfs works everywhere, and overlay, where the kernel lets it, is faster and takes a third of the disk.
set -euo pipefail
driver=${STORAGE_DRIVER:-vfs}
buildah=(buildah --storage-driver "$driver")
cd "$(dirname "$0")/../.."
targets=${TARGETS:-slim torch}
base=${BASE_IMAGE:-}

# A base that is made here stands in buildah's store.
if [ "$base" != debootstrap ] && docker info >/dev/null 2>&1; then
    build=(docker build)
elif command -v buildah >/dev/null; then
    # chroot and vfs ask for no rights that a container or a plain machine may lack.
    build=("${buildah[@]}" bud --isolation chroot)
    # vfs copies each layer whole: kept for the next build, those with torch are 6 GB apiece.
    [ "$driver" = vfs ] || build+=(--layers)
else
    echo "neither a docker engine nor buildah is there: install one (Debian: apt-get install buildah crun)" >&2
    exit 1
fi

if [ "$base" = debootstrap ]; then
    base=localhost/rewardloop-base
    if ! "${buildah[@]}" inspect --type image "$base" >/dev/null 2>&1; then
        root=$(mktemp -d)
        trap 'rm -rf "$root"' EXIT
        # The machine's own mirror.
        mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v '^#' | grep -oEm1 'https?://[^ ]+') || true
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" ${mirror:+"$mirror"}
        container=$("${buildah[@]}" from scratch)
        "${buildah[@]}" add "$container" "$root" / >/dev/null
        "${buildah[@]}" commit --rm "$container" "$base" >/dev/null
    fi
fi

for target in $targets; do
    "${build[@]}" ${CA_FILE:+--secret "id=ca,src=$CA_FILE"} ${base:+--build-arg "BASE_IMAGE=$base"} ${TORCH:+--build-arg "TORCH=$TORCH"} \
        --file deploy/images/Dockerfile --target "$target" --tag "rewardloop:$target" .
done
