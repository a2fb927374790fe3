#!/bin/bash
# nsys.sh DEBS OUT: decode steps of h100-smoke's server under Nsight Systems; a trimmed SQLite export.
# The copy of nsys inside Nsight Compute works once libdw1 and libelf1 lie beside it. Make it the last
# thing that a host does: of two attempts one worked, and in the other the host stopped answering.
DEBS=$1; O=$2; mkdir -p "$O"; W=$(mktemp -d); PYTHON=${PYTHON:-python3}
N=$(ls -d /opt/nvidia/nsight-compute/*/host 2> /dev/null | tail -1); nsys=$N/target-linux-x64/nsys
[ -x "$nsys" ] || { echo "nsys: not here"; exit 1; }
for f in "$DEBS"/*.deb; do dpkg -x "$f" "$W/dw" || exit 1; done
dw=$W/dw/usr/lib/x86_64-linux-gnu; port=31977
"$PYTHON" -P -c "
import json; from pathlib import Path; from scripts.gpu_smoke.serving import command
a = [x.replace('{port}', '$port') for x in command(Path('experiments/h100-smoke.yaml'))]
print('\n'.join(a))" > "$W/argv" || exit 1
mapfile -t argv < "$W/argv"
SGLANG_PLUGINS=none LD_LIBRARY_PATH=$dw setsid "$nsys" profile -s none --cpuctxsw=none -t cuda,nvtx \
  --cuda-graph-trace=node --capture-range=cudaProfilerApi --capture-range-end=stop --kill none \
  -o "$W/server" --force-overwrite true "${argv[@]}" > "$O/server.log" 2>&1 < /dev/null & p=$!
stop() { kill -KILL -- -$p 2> /dev/null; }
trap stop EXIT
"$PYTHON" -P -m scripts.gpu_smoke.decode_load --base-url "http://127.0.0.1:$port" --wait 100 --steps 8 || { tail -5 "$O/server.log"; exit 1; }
for _ in $(seq 1 15); do [ -e "$W/server.nsys-rep" ] && break; sleep 1; done
[ -e "$W/server.nsys-rep" ] || { kill -INT -- -$p; for _ in $(seq 1 20); do [ -e "$W/server.nsys-rep" ] && break; sleep 1; done; }
sleep 2; LD_LIBRARY_PATH=$dw timeout 30 "$nsys" export --type sqlite --lazy=false --force-overwrite true -o "$W/server.sqlite" "$W/server.nsys-rep" || exit 1
# A raw report holds the environment of the profiled process: only these tables leave the host.
"$PYTHON" -P -m scripts.gpu_smoke.trim_nsys "$W/server.sqlite" "$O/decode.sqlite" && ls -la "$O"
