#!/usr/bin/env bash
# app.sh [BUNDLE_FOLDER [ENGINES]]: build the app to install, with Gradle, an Android SDK and the official runtimes.
# ENGINES: comma-separated, of runtimes.properties; all by default. Prints the APK's path last.
set -euo pipefail
cd "$(dirname "$0")"
bundle=$(realpath -m "${1:-../out/bundle}")
engines=${2:-}

if [ -z "${ANDROID_HOME:-${ANDROID_SDK_ROOT:-}}" ] || ! command -v gradle >/dev/null; then
    echo "make app needs gradle (8.9 or newer) and an Android SDK (ANDROID_HOME). Without them: make app-check" >&2
    exit 2
fi
gradle --quiet assembleRelease "-Pbundle=$bundle" ${engines:+"-Pengines=$engines"} >&2
realpath build/outputs/apk/release/*-release.apk
