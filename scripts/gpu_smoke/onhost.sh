#!/bin/bash
# onhost.sh SECONDS PAYLOAD PART ... : on the GPU host, in the repository's root; no network is asked.
# Does the parts in order, begins none that cannot end in time, and packs what there is into $OUT at the
# end, come what may. Parts: setup doctor weights together (= checkref, hang and answers beside one
# another) checkref hang answers speed traces probes nsys; on two GPUs comm2 and nsys2. nsys and nsys2 come
# last: of the first attempts with it, one stopped the host. Variables: OUT, S (work folder), ENGINE=fake (a
# dry run without SGLang), PYTHON, MEASURED_SET (such as "--set launches=2").
LIMIT=${1:?seconds}; PAYLOAD=${2:?folder}; shift 2
T0=$(date +%s); END=$((T0 + LIMIT - 15)); ROOT=$PWD
S=${S:-/tmp/servegate-gpu}; PYTHON=${PYTHON:-python3}; E=experiments/h100; OUT=${OUT:-$S/back}
R=$S/results; mkdir -p "$R" "$S/models" "$OUT"
# Multicast can put a shared server's cards out of service: never here, by any of its names.
export SERVEGATE_FORBID_MULTICAST=1 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NCCL_NVLS_ENABLE=0 NVSHMEM_DISABLE_NVLS=1
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
export PYTHONPATH=$S/site:$ROOT:$ROOT/launchers/plugins PATH=$S/site/bin:$PATH
export TVM_FFI_CACHE_DIR=$S/jit TRITON_CACHE_DIR=$S/triton FLASHINFER_WORKSPACE_BASE=$S/flashinfer
nvcc=$(command -v nvcc || ls -d /usr/local/cuda*/bin/nvcc 2> /dev/null | head -1)
[ -z "$nvcc" ] || export CUDA_HOME=${CUDA_HOME:-$(dirname "$(dirname "$(readlink -f "$nvcc")")")}
FAKE=(); [ -z "$ENGINE" ] || FAKE=(--engine "$ENGINE")

left() { echo $((END - $(date +%s))); }
say() { echo "--- $* at +$(($(date +%s) - T0)) s"; }
py() { "$PYTHON" -P "$@"; }
unxz_() { if command -v xz > /dev/null; then xz -dc -T0 "$1"; else
  "$PYTHON" -S -c "import lzma,shutil,sys;shutil.copyfileobj(lzma.open(sys.argv[1]),sys.stdout.buffer)" "$1"; fi; }
measured() { # EXPERIMENT SECONDS-A-LAUNCH SECONDS-AT-MOST: run or resume it until then
  local name; name=$(basename "$1" .yaml)
  local until=$(($(date +%s) + $3)); [ "$until" -lt "$END" ] || until=$END
  py -m scripts.gpu_smoke.timed_run --until "$until" --launch "$2" --runs "$R/runs" --name "$name" \
    -- "$1" "${FAKE[@]}" --exit-by records ${MEASURED_SET:-} >> "$R/$name.txt" 2>&1
  local rc=$?; grep -v '^ *$' "$R/$name.txt" | tail -25 | cut -c1-200; say "$name ended with $rc"
}

setup() {
  [ -e "$S/ok" ] && { echo "already there"; return; }
  unxz_ "$PAYLOAD/1/engine.tar.xz" | tar xf - -C "$S" || return 1
  cp "$PAYLOAD"/1/*.deb "$S/" 2> /dev/null; touch "$S/ok"
  echo "unpacked, $(du -sm "$S" | cut -f1) MB; CUDA_HOME=$CUDA_HOME"
  # Imports of a cold tree take most of a start.
  [ -n "$ENGINE" ] || (cd "$S/site" && timeout 120 "$PYTHON" -m compileall -q -j 12 sglang transformers openai > /dev/null 2>&1)
}
doctor() {
  (nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,temperature.gpu --format=csv,noheader
   uname -r; nproc; "$PYTHON" --version) > "$R/host.txt" 2>&1; cat "$R/host.txt"
  timeout 90 "$PYTHON" -P -m pipeline doctor > "$R/doctor.txt" 2>&1; cut -c1-160 "$R/doctor.txt"
  timeout 90 "$PYTHON" -P -m pipeline doctor "$E-smoke.yaml" --json > "$R/doctor.json" 2> "$R/doctor.err"; say "doctor $E-smoke.yaml: exit $?"
}
weights() {
  [ -e "$S/models/smollm2/model.safetensors" ] && return
  cp "$PAYLOAD"/*/weights.*.xz "$S/" 2> /dev/null   # each part comes with a call of its own
  [ "$(ls "$S"/weights.*.xz 2> /dev/null | wc -l)" = 2 ] || { echo "weights: the other part is not here yet"; return 1; }
  for f in "$S"/weights.*.xz; do unxz_ "$f" || return 1; done > "$S/model.gguf"
  [ -n "$ENGINE" ] || py -m scripts.gpu_smoke.weights "$S/model.gguf" "$S/models/smollm2"
}
checkref() {
  # The same tree without the kernels that were carried; FlashInfer follows links to find its data.
  mkdir -p "$S/bare" "$S/empty"; [ -e "$S/bare/flashinfer" ] || cp -r "$S/site/flashinfer" "$S/bare/"
  rm -rf "$S/bare/flashinfer/data/aot"
  timeout 290 "$PYTHON" -P -m scripts.gpu_smoke.check_reference --experiment "$E-answers.yaml" \
    --reference "$S/models/reference.json" --model "$S/models/smollm2" --no-carried-kernels "$S/bare:$PYTHONPATH" \
    --empty-cache "$S/empty" --out "$R/checkref" "${FAKE[@]}" > "$R/checkref.txt" 2>&1
  local rc=$?; grep -v ': started' "$R/checkref.txt" | tail -45 | cut -c1-190; say "checkref ended with $rc"
}
hang() {
  timeout 280 "$PYTHON" -P -m scripts.gpu_smoke.hang --runs "$R/runs" --out "$R/hang" \
    -- experiments/ungated/h100-hang.yaml "${FAKE[@]}" --exit-by records ${HANG_SET:-} > "$R/hang.txt" 2>&1
  local rc=$?; grep '^hang' "$R/hang.txt" | cut -c1-300; say "hang ended with $rc"
}
answers() { measured "$E-answers.yaml" 100 "${1:-400}"; }
together() {
  [ -n "$ENGINE" ] || [ -e "$S/models/smollm2/model.safetensors" ] || { say "together left out: no weights yet"; return; }
  checkref & hang & answers 330 & wait
}
speed() { measured "$E-smoke.yaml" "${LAUNCH_S:-112}" 600; }
traces() { measured experiments/ungated/h100-traces.yaml 80 150; }
comm2() { measured experiments/ungated/h100x2-comm.yaml 95 420; }
probes() {
  timeout 150 "$PYTHON" -P -m scripts.gpu_smoke.probes --experiment "$E-smoke.yaml" --out "$R/probes" \
    "${FAKE[@]}" > "$R/probes.txt" 2>&1
  local rc=$?; grep '^probes' "$R/probes.txt" | cut -c1-600; say "probes ended with $rc"
}
nsys() { under_nsys experiments/ungated/h100-nsys.yaml; }
nsys2() { under_nsys experiments/ungated/h100x2-nsys.yaml; }
under_nsys() { # EXPERIMENT: servegate's own capture; FILE.small marks an export that was made small
  scripts/gpu_smoke/nsys_path.sh "$S" "$S/nsys" || return 1
  PATH=$S/nsys:$PATH measured "$1" 90 240
  echo "sessions left:"; timeout 20 "$S/nsys/nsys" sessions list; ps -eo pid,ppid,args | grep -i '[n]sys' | cut -c1-150
  local raw rc=0
  for raw in "$R"/runs/*nsys/*/launches/*/cells/*/traces/*.sqlite; do
    [ -e "$raw" ] || { echo "nsys left no export"; return 1; }
    rm -f "$raw.trimmed"
    py -m scripts.gpu_smoke.small_nsys "$raw" "$raw.trimmed" && mv "$raw.trimmed" "$raw" && touch "$raw.small" || rc=1
  done
  return $rc
}

declare -A NEED=([setup]=20 [doctor]=30 [weights]=30 [together]=200 [checkref]=120 [hang]=150 [answers]=120
  [speed]=130 [traces]=90 [probes]=110 [comm2]=110 [nsys]=130 [nsys2]=130)
pack() {
  # What nsys leaves holds the environment of what it traced: only exports that were made small, and not
  # written since, leave the host.
  rm -rf "$R"/probes/profile/*.tmp
  find "$R" \( -name '*.nsys-rep' -o -name '*.qdstrm' -o -name '*.trimmed' -o -name '*.sqlite-*' \) -delete
  find "$R" -name '*.sqlite' -exec bash -c '[ -e "$0.small" ] && [ ! "$0" -nt "$0.small" ] || rm -f "$0"' {} \;
  if command -v xz > /dev/null; then tar cf - -C "$S" results | xz -T0 -3 > "$OUT/results.tar.xz"
  else tar czf "$OUT/results.tar.gz" -C "$S" results; fi
  ls -la "$OUT"; say "packed"
}
trap pack EXIT
for part in "$@"; do
  [ -n "${NEED[$part]}" ] || { echo "no part $part; parts: ${!NEED[*]}"; exit 2; }
  [ "$(left)" -ge "$([ -n "$ENGINE" ] && echo 5 || echo "${NEED[$part]}")" ] || { say "$part left out: $(left) s left"; continue; }
  say "$part"; "$part" || { say "$part failed"; [ "$part" != setup ] || exit 1; }
done
