#!/bin/bash
# nsys_path.sh DEBS FOLDER: a command `nsys` in FOLDER, for PATH. The copy of Nsight Systems inside Nsight
# Compute works once Debian's libdw1 and libelf1 (DEBS/*.deb) lie beside it: its importer lacks libdw.so.1.
DEBS=$1; TO=$2; [ -x "$TO/nsys" ] && exit 0
found=$(ls -d /opt/nvidia/nsight-compute/*/host/target-linux-x64/nsys 2> /dev/null | tail -1)
[ -x "$found" ] || { echo "nsys: not here"; exit 1; }
mkdir -p "$TO"; for f in "$DEBS"/*.deb; do dpkg -x "$f" "$TO/dw" || exit 1; done
printf '#!/bin/bash\nexport LD_LIBRARY_PATH=%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\nexec %s "$@"\n' \
  "$TO/dw/usr/lib/x86_64-linux-gnu" "$found" > "$TO/nsys"
chmod +x "$TO/nsys"; "$TO/nsys" --version
