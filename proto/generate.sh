#!/usr/bin/env bash
# Writes shared/pb from the contracts (`make proto`); CI proves that what is committed is current.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
bin="$(dirname "$python")"
find shared/pb -name '*_pb2*' -delete
"$python" -m grpc_tools.protoc -Ishared/pb=proto \
    --plugin=protoc-gen-mypy_grpc="$bin/protoc-gen-mypy_grpc" \
    --python_out=. --pyi_out=. --grpc_python_out=. --mypy_grpc_out=. \
    $(find proto -name '*.proto' -printf 'shared/pb/%P\n' | sort)
find shared/pb -name '*_pb2_grpc.py' -size -1 -delete
find shared/pb -type d -exec touch {}/__init__.py \;
