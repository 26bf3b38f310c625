#!/usr/bin/env bash
# jvm.sh: out/android/jvm.jar, the app's core for this machine's JVM, with an engine that runs ONNX files in plain Java:
#   java -cp out/android/jvm.jar org.pocketdistill.demo.jvm.InstrumentMain JOB.json RESULT_FOLDER
# Needs the toolchain of toolchain.sh (for the platform's class stubs) and a JDK 17.
set -euo pipefail
cd "$(dirname "$0")"
out=$(mkdir -p ../out/android && cd ../out/android && pwd)
./toolchain.sh "$out/toolchain"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
core=src/main/java/org/pocketdistill/demo
core_sources=$(find "$core"/{json,image,task,model,instrument,engine} -name '*.java' ! -name '*Engine.java' ! -name Engines.java)
javac -Xlint:all,-options -Werror -source 8 -target 8 -bootclasspath "$out/toolchain/android.jar" -d "$work" \
    $core_sources "$core/engine/Engine.java"
javac -Xlint:all -Werror --release 17 -cp "$work" -d "$work" $(find src/jvm/java -name '*.java')
version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../pyproject.toml)
jar --create --file "$out/jvm.jar.tmp" --manifest <(echo "Implementation-Version: $version") -C "$work" .
mv "$out/jvm.jar.tmp" "$out/jvm.jar"
