#!/usr/bin/env bash
# test.sh: the app's JUnit tests on this machine's JVM: everything that does not touch Android, with the platform's
# class stubs (API 23) in place of the JDK's own classes while compiling, so that nothing newer slips in.
# PYTHON makes the golden images, answers and pictures (default: the project's .venv). Writes only below out/android.
set -euo pipefail
cd "$(dirname "$0")"
out=$(mkdir -p ../out/android && cd ../out/android && pwd)
python=${PYTHON:-../.venv/bin/python}

./toolchain.sh "$out/toolchain"
./jvm.sh
mkdir -p "$out/test"
"$python" golden_images.py "$out/test/golden_images.bin" >/dev/null
"$python" golden_answers.py "$out/test/golden_answers.bin" >/dev/null
"$python" ../tests/distill/vision/odd_pictures.py "$out/test/golden_pictures" >/dev/null
junit=$(cat "$out/toolchain/junit.classpath")
rm -rf "$out/test/classes" && mkdir -p "$out/test/classes"
javac -Xlint:all -Werror --release 17 -cp "$out/jvm.jar:$junit" -d "$out/test/classes" $(find src/test/java -name '*.java')
names=$(cd "$out/test/classes" && find . -name '*Test.class' | sed 's|^\./||; s|\.class$||; s|/|.|g' | sort)
exec java -Xmx256m -Dproject="$PWD/.." -Dgolden.images="$out/test/golden_images.bin" \
    -Dgolden.answers="$out/test/golden_answers.bin" -Dgolden.pictures="$out/test/golden_pictures" -Dtests.classpath="$out/jvm.jar:$out/test/classes" \
    -cp "$out/jvm.jar:$out/test/classes:$junit" org.junit.runner.JUnitCore $names
