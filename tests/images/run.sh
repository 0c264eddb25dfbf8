#!/usr/bin/env bash
# Runs the tests of the images in network and mount namespaces of their own: nothing stays behind, and no address is taken.
# PYTHON names the interpreter; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${REWARDLOOP_TEST_NAMESPACES:-}" ]; then
    [ "$(id -u)" = 0 ] || { echo "make test-images makes network namespaces: run it as root (sudo make test-images)" >&2; exit 1; }
    REWARDLOOP_TEST_NAMESPACES=1 exec unshare --mount --net "$0" "$@"
fi
ip link set lo up
# crun takes cgroups of the first version or of the second, not both beside each other.
if mountpoint --quiet /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
mkdir -p /run/netns
mount -t tmpfs none /run/netns
exec "${PYTHON:-python}" -m pytest tests/images "$@"
