#!/usr/bin/env bash
# The wheel on a 64-bit Arm processor, emulated: installs the aarch64 wheels beside Debian 13's Python, listens to the
# sample, and compares what every shipped file answers with what is stored of x86. Not part of check.sh; needs minutes.
#
#   bash tests/aarch64.sh [FOLDER]    FOLDER keeps Debian's files for the next time
#
# Needs root, debootstrap, and qemu-aarch64 of qemu 10, as in Debian 13's package qemu-user; QEMU=PATH names it where it
# is not installed. onnxruntime crashes in qemu 7.2 (Debian 12).
set -Eeuo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv-tools/bin:$PATH" # uv, where check.sh has put it

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$(realpath -m "${1:-$work}/debian-arm64")

if ! [ -e "$root/usr/bin/python3" ]; then
    # Unpacked only: nothing here needs the packages' own scripts.
    debootstrap --foreign --arch=arm64 --variant=minbase --include=python3 trixie "$root" >"$work/debootstrap.log"
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
fi

uv build --quiet --wheel --out-dir "$work/dist"
uv export --quiet --locked --all-extras --no-hashes --no-emit-project --output-file "$work/locked.txt"
uv pip install --quiet --python-platform aarch64-manylinux_2_28 --python-version 3.13 --only-binary :all: \
    --constraints "$work/locked.txt" --target "$work/site" "$work"/dist/*.whl

emulated() {
    QEMU_LD_PREFIX="$root" PYTHONPATH="$work/site" PYTHONHOME="$root/usr" \
        "${QEMU:-qemu-aarch64}" "$root/usr/bin/python3" "$@"
}
# -P: the wheel, not the checkout in this folder.
emulated -P -c 'import edgeemo, onnxruntime, platform, sys
print(platform.machine(), "onnxruntime", onnxruntime.__version__, edgeemo.__file__)
sys.exit(not edgeemo.__file__.startswith(sys.argv[1]))' "$work/site"
# As `edgeemo listen`, but an emulated processor may take its time over the trial at load.
emulated -P -c 'from edgeemo import cli, trial; trial.MAX_TRIAL_S = 600; cli.main()' listen --sample --fast | tail -n 3
emulated tests/support/shipped.py models/*.onnx
