#!/bin/bash
# prepare.sh GGUF OUT: where the network is, and without a GPU, makes what a GPU host without a network
# lacks: OUT/1 (the engine, its kernels, configurations), OUT/2 and OUT/3 (the weights that answer, in
# halves). Each goes with a transfer of its own, since together they pass 64 MiB.
# Variables: PY (a Python 3.12), ENGINE_PY (an interpreter with transformers and gguf), W (cache; about
# 6 GB), DEBS (folder with libdw1 and libelf1 packages for nsys).
set -eo pipefail
GGUF=$(realpath "${1:?the GGUF file}"); OUT=${2:?the folder to fill}
HERE=$(cd "$(dirname "$0")" && pwd); ROOT=$(cd "$HERE/../.." && pwd)
PY=${PY:-python3.12}; ENGINE_PY=${ENGINE_PY:-python3}; W=${W:-${TMPDIR:-/tmp}/servegate-gpu-prepare}
mkdir -p "$W/wheels" "$W/kernel" "$OUT/1" "$OUT/2" "$OUT/3"
platforms=$(for n in 39 36 35 34 31 28 27 24 17; do echo "--platform manylinux_2_${n}_x86_64"; done)
fetch="--no-deps --only-binary=:all: --python-version 3.12 --implementation cp $platforms
  --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64"

if [ ! -e "$W/wheels/.done" ]; then
  grep -v '^antlr4' "$HERE/wheels.txt" > "$W/wheels.txt"
  "$PY" -m pip download -q $fetch -d "$W/wheels" -r "$W/wheels.txt"
  "$PY" -m pip wheel -q --no-deps -w "$W/wheels" "$(grep '^antlr4' "$HERE/wheels.txt")"   # no wheel there
  "$PY" -m pip download -q $fetch -d "$W/kernel" sglang-kernel==0.4.5
  touch "$W/wheels/.done"
fi

# One tree that goes first on PYTHONPATH. What no H100 with these flags ever loads is left out.
rm -rf "$W/site"; mkdir -p "$W/site"
"$PY" -m pip install -q --no-index --no-deps --no-compile --root-user-action ignore --target "$W/site" "$W"/wheels/*.whl
unzip -q -o "$W"/kernel/*.whl -d "$W/site" -x 'sgl_kernel/flash_ops*' 'sgl_kernel/infllm_ops*' \
  'sgl_kernel/sm100/*' 'sgl_kernel/flashmla_ops*' 'sgl_kernel/spatial_ops*'
strip -g "$W/site/xgrammar/libxgrammar_bindings.so" "$W"/site/{tokenizers,adbc_driver_*}/*.so   # 53 to 3 MB
mv "$W/site/bin" "$W/bin.all"; mkdir "$W/site/bin"; cp "$W/bin.all/py-spy" "$W/site/bin/"; rm -rf "$W/bin.all"
(cd "$W/site"
 rm -rf xgrammar/lib/*.a sglang/multimodal_gen sglang/test/kits sglang/srt/grpc/_core*.so \
   flashinfer/data/cutlass flashinfer/data/cccl build_*.py   # the kernels here include nothing of these
 find . -name '*.a' -delete
 mkdir -p IPython; : > IPython/__init__.py       # imported, never used: notebooks and sound files
 printf 'def HTML(*a, **k): return None\ndef display(*a, **k): return None\n' > IPython/display.py
 echo '"""Only the audio endpoints use this."""' > soundfile.py)

# Kernels for the card, compiled here: no GPU is needed for that, only nvcc and a stub of libcuda.
if [ ! -e "$W/jit/.done" ]; then
  [ -e "$W/venv/.done" ] || { "$PY" -m venv "$W/venv"; "$W/venv/bin/pip" install -q -r "$HERE/toolchain.txt"; touch "$W/venv/.done"; }
  cu=$(echo "$W"/venv/lib/python3.12/site-packages/nvidia/cu13)
  mkdir -p "$W/cuda/lib64/stubs" "$W/libcuda"
  for d in bin include nvvm; do ln -sfn "$cu/$d" "$W/cuda/$d"; done
  for l in libcudart.so libcudart.so.13; do ln -sfn "$cu/lib/libcudart.so.13" "$W/cuda/lib64/$l"; done
  echo 'int cuPointerGetAttribute(void*a,int b,unsigned long c){return 1;}' |
    gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$W/libcuda/libcuda.so.1" -x c -
  cp "$W/libcuda/libcuda.so.1" "$W/cuda/lib64/stubs/libcuda.so"
  LD_LIBRARY_PATH=$W/libcuda PYTHONPATH=$W/site PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 CUDA_HOME=$W/cuda \
    TVM_FFI_CACHE_DIR=$W/jit/tvm FLASHINFER_WORKSPACE_BASE=$W/jit/fi PATH=$W/venv/bin:$PATH MAX_JOBS=2 \
    "$W/venv/bin/python" "$HERE/prejit.py"
  touch "$W/jit/.done"
fi
rm -rf "$W/pack"; mkdir -p "$W/pack/jit"
(cd "$W/jit/tvm"; for f in */*.so; do mkdir -p "$W/pack/jit/$(dirname "$f")"; cp "$f" "$W/pack/jit/$f"; done)
mkdir -p "$W/site/flashinfer/data/aot/norm"
cp "$W"/jit/fi/.cache/flashinfer/*/90a/cached_ops/norm/norm.so "$W/site/flashinfer/data/aot/norm/"

# Configurations, tokenizers, and what the small model computes in float32.
if [ ! -e "$W/models/.done" ]; then
  (cd "$ROOT"; export PYTHONPATH=$ROOT:$ROOT/launchers/plugins
   "$ENGINE_PY" -m scripts.gpu_smoke.models "$GGUF" "$W/models"
   rm -rf "$W/built"; cp -r "$W/models/smollm2" "$W/built"
   "$ENGINE_PY" -m scripts.gpu_smoke.weights "$GGUF" "$W/built"
   "$ENGINE_PY" -m scripts.gpu_smoke.reference "$W/built" "$W/models/reference.json")
  touch "$W/models/.done"
fi

find "$W/site" -name __pycache__ -prune -exec rm -rf {} +
cp -r "$W/models" "$W/pack/"; ln -s "$W/site" "$W/pack/site"
rm -f "$OUT"/[123]/*
tar --sort=name --exclude=.done -C "$W/pack" -chf - site jit models | xz -T2 "-${XZ:-9}" > "$OUT/1/engine.tar.xz"
[ -z "$DEBS" ] || cp "$DEBS"/*.deb "$OUT/1/"   # without them nsys is left out
half=$(($(stat -c %s "$GGUF") / 2))
head -c "$half" "$GGUF" | xz -T2 -6 > "$OUT/2/weights.0.xz"
tail -c +$((half + 1)) "$GGUF" | xz -T2 -6 > "$OUT/3/weights.1.xz"
tree=$(cd "$ROOT"; git ls-files -z | xargs -0 du -cb | tail -1 | cut -f1)
for n in 1 2 3; do
  size=$(du -sb "$OUT/$n" | cut -f1); echo "OUT/$n: $size bytes, with the tree $((size + tree)) of 67108864"
  [ $((size + tree)) -lt 67108864 ] || { echo "OUT/$n is too large for one transfer with the tree"; exit 1; }
done
