#!/usr/bin/env bash
# Resolves the lock files again (`make lock`). Locks carry hashes and no index address.
# torch has a lock of its own, so that a user can bring another build of it (`make install TORCH=…`).
set -euo pipefail
cd "$(dirname "$0")/.."
compile=("${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate)
"${compile[@]}" "$@" requirements/installer.in -o requirements/installer.lock
"${compile[@]}" "$@" requirements/torch.in -o requirements/torch.lock
apart=()
for package in $(sed -n 's/^\(torch\|triton\|nvidia[a-z0-9-]*\|cuda[a-z0-9-]*\)==.*/\1/p' requirements/torch.lock | sort -u); do
    apart+=(--no-emit-package "$package")
done
for extra in embedded production dev; do
    "${compile[@]}" "$@" "${apart[@]}" -c requirements/torch.lock pyproject.toml --extra "$extra" -o "requirements/$extra.lock"
    # what the constraint repeats of torch's own dependencies is already in torch.lock, at the same version
done
