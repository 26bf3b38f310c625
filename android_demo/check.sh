#!/usr/bin/env bash
# check.sh [BUNDLE_FOLDER]: build and check the app with Debian's tools alone (see toolchain.sh), without an Android SDK.
#
# Everything of the app is compiled: against the platform's stubs (API 23) and against signature stubs of the four
# runtimes. The APK is real, signed with a throw-away key and verified; it holds no runtime, so it starts, shows its
# screens and says that it cannot run models. `make app` builds the one to install. Prints every check and the size in
# bytes, and what a store would refuse (python -m android_demo preflight); ends with status 1 at the first that fails.
# The APK is out/android/check.apk. PYTHON runs the preflight (default: the project's .venv).
set -euo pipefail
cd "$(dirname "$0")"
out=$(mkdir -p ../out/android && cd ../out/android && pwd)
bundle=${1:-}
python=${PYTHON:-$(realpath -s ../.venv/bin/python)}
readonly package=org.pocketdistill.demo min_sdk=26 target_sdk=36 version_code=1
version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../pyproject.toml)

./toolchain.sh "$out/toolchain"
PATH="$out/toolchain/bin:$PATH"
platform="$out/toolchain/android.jar"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

passed() { printf 'ok    %s\n' "$1"; }
refuse() { printf 'FAIL  %s\n' "$1" >&2; exit 1; }

compile() { # CLASSPATH TARGET OPTION... -- SOURCE...
    local classpath=$1 target=$2; shift 2
    mkdir -p "$target"
    # -source 8: what the dex compiler reads. Without the JDK's own classes, a call that API 23 lacks is an error.
    javac -Xlint:all,-options,-deprecation -Werror -source 8 -target 8 \
        -bootclasspath "$work/newer_platform:$platform" -cp "$classpath" -d "$target" "$@"
}

package_resources() {
    mkdir -p "$work/generated" "$work/assets"
    if [ -n "$bundle" ]; then cp -R "$bundle" "$work/assets/bundle"; fi
    echo "# none: compiled against signature stubs" > "$work/assets/runtimes.properties"
    # Gradle takes the package from build.gradle and refuses it in the manifest; aapt wants it there.
    sed "s|<manifest |<manifest package=\"$package\" |" src/main/AndroidManifest.xml > "$work/AndroidManifest.xml"
    aapt package -f -m -J "$work/generated" -M "$work/AndroidManifest.xml" -S src/main/res -A "$work/assets" \
        -I "$out/toolchain/framework-res.apk" -F "$work/unaligned.apk" -0 onnx -0 pte -0 tflite -0 pt -0 npy \
        --min-sdk-version $min_sdk --target-sdk-version $target_sdk \
        --version-code $version_code --version-name "$version"
}

sign() {
    local key="$work/key.jks"
    keytool -genkeypair -keystore "$key" -storepass throw-away -alias check -keyalg RSA -keysize 2048 -validity 1 \
        -dname CN=check 2>/dev/null
    apksigner sign --ks "$key" --ks-pass pass:throw-away --min-sdk-version $min_sdk --out "$out/check.apk" \
        "$work/aligned.apk"
}

mkdir -p "$work/newer_platform"
javac -Xlint:-options -source 8 -target 8 -bootclasspath "$platform" -d "$work/newer_platform" \
    $(find stubs/platform -name '*.java')
package_resources
passed "resources and manifest (aapt)"
compile "" "$work/runtimes" $(find stubs/runtimes -name '*.java')
compile "$work/runtimes" "$work/app" $(find src/main/java "$work/generated" -name '*.java')
passed "Java, warnings are errors (javac, API 23 and signature stubs)"
dx --dex --min-sdk-version=$min_sdk --output="$work/classes.dex" "$work/app"
(cd "$work" && aapt add -k unaligned.apk classes.dex >/dev/null)
passed "dex"
# Android has no LambdaMetafactory: a lambda that reaches the dex builds, installs and crashes.
if dexdump -d "$work/classes.dex" | grep -q invoke-custom; then refuse "no lambdas in the dex"; fi
passed "no lambdas in the dex (dexdump)"
foreign=$(dexdump -f "$work/classes.dex" | sed -n "s/.*Class descriptor *: '\(.*\)'/\1/p" | grep -v '^Lorg/pocketdistill/demo/' || true)
[ -z "$foreign" ] || refuse "only our own classes in the dex, found $foreign"
passed "only our own classes in the dex, no stub (dexdump)"
zipalign -f -p 4 "$work/unaligned.apk" "$work/aligned.apk"
zipalign -c -p 4 "$work/aligned.apk" >/dev/null || refuse "aligned"
passed "aligned (zipalign)"
sign
apksigner verify --min-sdk-version $min_sdk --verbose "$out/check.apk" > "$work/verified" || refuse "signature"
grep -q 'v2 scheme.*true' "$work/verified" || refuse "signature scheme v2"
passed "signed, v2 and v3 (apksigner verify)"

aapt dump badging "$out/check.apk" > "$work/badging"
grep -q "^package: name='$package' versionCode='$version_code' versionName='$version'" "$work/badging" || refuse "package name and version"
grep -q "^launchable-activity: name='$package.ui.ClassifyActivity'" "$work/badging" || refuse "launcher activity"
grep -q "^sdkVersion:'$min_sdk'" "$work/badging" && grep -q "^targetSdkVersion:'$target_sdk'" "$work/badging" || refuse "SDK versions"
passed "package, version, launcher and SDK versions (aapt dump badging)"
[ "$(aapt dump permissions "$out/check.apk" | grep -c uses-permission)" = 1 ] || refuse "one permission"
aapt dump permissions "$out/check.apk" | grep -q "uses-permission: name='android.permission.CAMERA'" || refuse "camera permission"
passed "no permission but the camera's (aapt dump permissions)"
if [ -n "$bundle" ]; then
    packed=$(aapt list "$out/check.apk" | grep -c '^assets/bundle/')
    [ "$packed" = "$(find "$bundle" -type f | wc -l)" ] || refuse "every file of the bundle, found $packed"
    passed "the bundle: $packed files"
fi
(cd .. && "$python" -m android_demo preflight "$out/check.apk" --version "$version" >/dev/null) || refuse "preflight"
passed "what a store looks at (android_demo preflight)"
printf '%s: %s bytes\n' "$out/check.apk" "$(stat -c %s "$out/check.apk")"
