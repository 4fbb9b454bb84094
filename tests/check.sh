#!/usr/bin/env bash
# The one check command.
#
#   bash tests/check.sh          checks everything
#   bash tests/check.sh --fast   leaves out what takes minutes: slow tests, tests that need corpora, a microphone, a
#                                cluster or a browser, the coverage, and the wheel
#
# Sets up what it needs, then stops at the first step that fails. Needs Python 3.11 or newer, git and the package
# registries; microphone tests need apt-get as root, or PulseAudio; those of pages in a browser apt-get as root, or
# Chromium, its driver and Firefox; those of clients in other languages node, or cmake and a C compiler.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

# Compiled modules are kept: without them, each of the many processes that tests start would compile its imports anew,
# which makes three times the time of importing TensorFlow.
unset PYTHONDONTWRITEBYTECODE

MAX_WHEEL_MB=10
MAX_BASE_MB=170

case "$*" in
    "") fast=false ;;
    --fast) fast=true ;;
    *) echo "check.sh: got '$*'; expected --fast, or nothing to check everything" >&2; exit 2 ;;
esac
work=$(mktemp -d)
what=start
trap 'rm -rf "$work"' EXIT
trap 'echo "check.sh: FAILED at: $what" >&2' ERR
step() { what=$1; printf '\n=== %s (%d s)\n' "$what" "$SECONDS"; }

install_system_packages() {
    if ! [ -x "$(command -v apt-get)" ]; then
        echo "no apt-get here: without PortAudio and PulseAudio the microphone tests will be skipped"
        return
    fi
    local package missing=() sudo=""
    for package in libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins strace mosquitto \
        chromium chromium-driver firefox-esr fonts-dejavu-core cmake gcc libc6-dev; do
        dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    if [ ${#missing[@]} -gt 0 ] && ! { $sudo apt-get update && DEBIAN_FRONTEND=noninteractive $sudo \
        apt-get install -y --no-install-recommends "${missing[@]}"; } >"$work/apt.log" 2>&1; then
        tail -n 3 "$work/apt.log"
        echo "cannot install ${missing[*]}: the tests that need them will be skipped"
    fi
}

# onnxruntime's header for examples/c/. Debian 13 has it; before, its package is unpacked here.
find_onnxruntime_header() {
    local apt="$work/apt"
    [ -x "$(command -v apt-get)" ] && ! [ -e /usr/include/onnxruntime/onnxruntime_c_api.h ] || return 0
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" >"$apt/list"
    if (
        cd "$apt"
        options=(-o "Dir::Etc::SourceList=$apt/list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists"
            -o "Dir::Cache=$apt/cache")
        apt-get "${options[@]}" update && apt-get "${options[@]}" download libonnxruntime-dev &&
            dpkg -x libonnxruntime-dev_*.deb .
    ) >"$work/apt.log" 2>&1; then
        export ONNXRUNTIME_INCLUDE="$apt/usr/include/onnxruntime"
    else
        tail -n 1 "$work/apt.log"
        echo "cannot get onnxruntime's header: the tests of examples/c/ will be skipped"
    fi
}

$fast || { step "system packages"; install_system_packages; find_onnxruntime_header; }

step "uv sync"
if ! [ -x "$(command -v uv)" ]; then
    [ -x .venv-tools/bin/uv ] || { python3 -m venv .venv-tools && .venv-tools/bin/pip install --quiet uv; }
    echo '*' >.venv-tools/.gitignore
    export PATH="$PWD/.venv-tools/bin:$PATH"
fi
uv sync --quiet --locked --all-extras --python '>=3.11,<3.14' # what TensorFlow has wheels for
run() { uv run --no-sync "$@"; }

# Files of tests side by side: each worker pays for TensorFlow once, and models are made once per file. Two more than there
# are cores: many tests wait for a microphone, a browser or a server.
workers=$(python3 -c 'import os; print(min((os.cpu_count() or 1) + 2, 6))')
parallel=(-n "$workers" --dist loadfile)

step "ruff check";          run ruff check
step "ruff format --check"; run ruff format --check
step "mypy";                run mypy
step "lint-imports";        run lint-imports
step "mkdocs build";        NO_MKDOCS_2_WARNING=1 run mkdocs build --quiet --strict --site-dir "$work/site"

if $fast; then
    step "pytest: fast tests"
    run pytest "${parallel[@]}" -m "not (slow or corpora or microphone or cluster or browser)"
    exit
fi

step "pytest"
export COVERAGE_FILE="$work/coverage"
run pytest "${parallel[@]}" --cov --cov-report=
echo "coverage: $(run coverage report --format=total) % of the lines of edgeemo (what other processes run is not counted)"

step "the base wheel alone: build"
uv build --quiet --wheel --out-dir "$work/dist"
wheel_mb=$(du -m --apparent-size "$work"/dist/*.whl | cut -f1)
echo "the wheel is $wheel_mb MB; at most $MAX_WHEEL_MB"
[ "$wheel_mb" -le "$MAX_WHEEL_MB" ]
mkdir "$work/tests"
cp -r tests/conftest.py tests/support tests/device "$work/tests/"
cp -r examples "$work/"
cp pyproject.toml "$work/" # pytest's settings; no edgeemo beside it, so what is tested is the wheel

# What pyproject.toml allows, at both ends: the lowest versions of the base dependencies, and what `pip install edgeemo`
# gives today. The versions between are the lock's, with which everything was tested above.
cd "$work"
for versions in lowest-direct highest; do
    step "the base wheel alone, $versions versions: install"
    uv venv --quiet --clear --python 3.11 "$work/venv"
    pip() { uv pip install --quiet --python "$work/venv/bin/python" "$@"; }
    pip --resolution $versions --requirements pyproject.toml
    pip --no-deps dist/*.whl
    uv pip freeze --python venv/bin/python | grep -E '^(numpy|onnxruntime|rich|sounddevice|soundfile|soxr|typer)==' | xargs
    base_mb=$(du -sm venv/lib/python*/site-packages | cut -f1)
    echo "the base environment (the wheel and its dependencies) is $base_mb MB; at most $MAX_BASE_MB"
    [ "$base_mb" -le "$MAX_BASE_MB" ]

    step "the base wheel alone, $versions versions: tests/device"
    pip pytest pytest-xdist hypothesis jsonschema pyte
    venv/bin/python -c "import edgeemo, sys; sys.exit('site-packages' not in edgeemo.__file__)"
    # A cluster needs its extra; corpora and pages are read above, and faults are waited for; the look of --help is the
    # locked typer's.
    venv/bin/python -m pytest "${parallel[@]}" -m "not (cluster or corpora or browser)" \
        --ignore tests/device/test_help.py --ignore tests/device/test_faults.py tests/device
done
