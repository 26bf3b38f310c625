#!/usr/bin/env bash
# app.sh [BUNDLE_FOLDER [ENGINES]]: build the app to install, with Gradle, an Android SDK and the official runtimes.
# ENGINES: comma-separated, of runtimes.properties; by default those that the bundle's models need, but TorchScript's,
# which ended in 2023 and does not load on phones with memory pages of 16 KB: that one has to be asked for by name.
# The APK is looked at as a store does (PYTHON, default: the project's .venv). Prints its path last.
set -euo pipefail
cd "$(dirname "$0")"
bundle=$(realpath -m "${1:-../out/bundle}")
engines=${2:-}

if [ -z "${ANDROID_HOME:-${ANDROID_SDK_ROOT:-}}" ] || ! command -v gradle >/dev/null; then
    echo "make app needs gradle (8.11 or newer) and an Android SDK (ANDROID_HOME). Without them: make app-check" >&2
    exit 2
fi
if [ -z "$engines" ]; then
    engines=$(cat "$bundle"/*/manifest.json | sed -n 's/^  "format": "\(.*\)",$/\1/p' | sed '/^torchscript$/d' | sort -u | paste -sd,)
fi
gradle --quiet assembleRelease "-Pbundle=$bundle" ${engines:+"-Pengines=$engines"} >&2
apk=$(realpath build/outputs/apk/release/*-release.apk)
python=${PYTHON:-$(realpath -s ../.venv/bin/python)}
(cd .. && "$python" -m android_demo preflight "$apk" >/dev/null)
echo "$apk"
