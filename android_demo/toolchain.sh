#!/usr/bin/env bash
# toolchain.sh PREFIX: an Android build chain from Debian packages alone, unpacked into PREFIX.
#
# Nothing is installed and the system's package lists stay as they are: apt runs with a state of its own, on Debian 11,
# the last release that has both the platform's class stubs (API 23) and a dex compiler. The mirror and the signing key
# are those of this machine's own apt configuration. The programs run with Debian 11's own C library.
# Needs apt, python3 and a JDK 17 (javac). Leaves PREFIX/bin/*, PREFIX/android.jar, PREFIX/framework-res.apk and
# PREFIX/junit.classpath. A second call is a no-op.
set -euo pipefail

readonly suite=bullseye
readonly programs=(aapt android-framework-res zipalign dexdump)
readonly jars=(libandroid-23-java dalvik-exchange apksigner libapksig-java junit4 libhamcrest-java)

prefix=$(mkdir -p "$1" && cd "$1" && pwd)
[ -e "$prefix/.ready" ] && exit 0
root="$prefix/root"
apt_state="$prefix/apt"

command -v javac >/dev/null || { echo "javac is missing: apt-get install openjdk-17-jdk-headless" >&2; exit 1; }

write_source() {
    python3 - "$suite" <<'PY'
import re, sys
from pathlib import Path

def stanzas():
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for text in re.split(r"\n\s*\n", path.read_text()):
            pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))
            yield {key.strip().lower(): value.strip() for key, value in pairs}
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else ():
            if found := re.match(r"deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)", line):
                key = re.search(r"signed-by=(\S+)", found[1] or "")
                yield {"types": "deb", "uris": found[2], "suites": found[3], "signed-by": key[1] if key else ""}

for entry in stanzas():
    is_archive = "deb" in entry.get("types", "").split() and not re.search(r"secur", entry.get("suites", ""))
    if is_archive and entry.get("enabled", "yes") != "no":
        print(f"Types: deb\nURIs: {entry['uris'].split()[0]}\nSuites: {sys.argv[1]}\nComponents: main")
        if entry.get("signed-by"):
            print("Signed-By:", entry["signed-by"])
        sys.exit()
sys.exit("no Debian archive in /etc/apt: this script reads the mirror from there")
PY
}

private_apt() { # COMMAND ARGUMENT...: an apt tool that sees only $apt_state
    local command=$1; shift
    "$command" -qq \
        -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt_state/sources" \
        -o Dir::State="$apt_state/state" -o Dir::State::Lists="$apt_state/lists" \
        -o Dir::State::status="$apt_state/status" -o Dir::Cache="$apt_state/cache" \
        -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o Acquire::Languages=none \
        -o APT::Sandbox::User=root "$@"
}

unpack_packages() {
    mkdir -p "$apt_state"/{sources,state,lists/partial,cache/archives/partial,packages}
    : > "$apt_state/status" # nothing counts as installed, so that apt lists everything a program needs
    write_source > "$apt_state/sources/archive.sources"
    private_apt apt-get update
    local needed
    mapfile -t needed < <(private_apt apt-get install --simulate --no-install-recommends --yes "${programs[@]}" |
        awk '$1 == "Inst" { print $2 }')
    (cd "$apt_state/packages" && private_apt apt-get download "${needed[@]}" "${jars[@]}")
    local package
    for package in "$apt_state"/packages/*.deb; do dpkg-deb --extract "$package" "$root"; done
}

wrap_program() { # NAME: run a Debian 11 program with Debian 11's loader and libraries
    local libraries="$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu/android"
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' \
        "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$libraries:$root/usr/lib" \
        "$root/usr/lib/android-sdk/build-tools/debian/$1" > "$prefix/bin/$1"
}

wrap_java() { # NAME MAIN_CLASS JAR...
    local name=$1 main=$2; shift 2
    printf '#!/bin/sh\nexec java -Xmx768m -cp "%s" %s "$@"\n' \
        "$(printf "$root/usr/share/java/%s:" "$@")" "$main" > "$prefix/bin/$name"
}

unpack_packages
mkdir -p "$prefix/bin"
for program in aapt zipalign dexdump; do wrap_program $program; done
wrap_java dx com.android.dx.command.Main com.android.dx.jar
wrap_java apksigner com.android.apksigner.ApkSignerTool apksigner.jar apksig.jar
chmod +x "$prefix"/bin/*
ln -sfn "$root/usr/lib/android-sdk/platforms/android-23/android.jar" "$prefix/android.jar"
ln -sfn "$root/usr/share/android-framework-res/framework-res.apk" "$prefix/framework-res.apk"
printf '%s:%s' "$root/usr/share/java/junit4.jar" "$root/usr/share/java/hamcrest-core.jar" > "$prefix/junit.classpath"
rm -rf "$apt_state"
touch "$prefix/.ready"
