#!/bin/sh
# Hashes every file under a directory, and reports how far it has come by bytes.
#
# Input:    {"directory": PATH, "pause": SECONDS}    The pause after each file goes easy on a disk;
#                                                    it may be left out.
# Response: {"directory", "files", "bytes", "unreadable", "digest"}
#
# The digest is the SHA-256 of the sorted lines `HASH  PATH`. Symbolic links are not followed;
# files that can't be read are counted, and named on standard error.
set -u
LC_ALL=C
export LC_ALL

# By hand, without a worker, there is no one to report to.
{ true >&3; } 2>/dev/null || exec 3>/dev/null

# A field of the input, still with JSON's escapes. The worker writes the input on one line.
text() { printf '%s\n' "$input" | sed -nE 's/.*"'"$1"'" *: *"(([^"\\]|\\.)*)".*/\1/p'; }
number() { printf '%s\n' "$input" | sed -nE 's/.*"'"$1"'" *: *([0-9.]+).*/\1/p'; }
fail() { printf '%s\n' "$2" >&2; exit "$1"; }

if command -v sha256sum >/dev/null; then sha() { sha256sum; }; else sha() { shasum -a 256; }; fi

# Calls a command for each regular file under a directory. Globs, unlike lines, hold any name.
walk() {
    for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        if [ -L "$entry" ]; then continue
        elif [ -d "$entry" ]; then walk "$entry" "$2"
        elif [ -f "$entry" ]; then "$2" "$entry"
        fi
    done
}

measure() {
    files=$((files + 1))
    if [ -r "$1" ]; then total=$((total + $(wc -c <"$1"))); fi
}

report() {
    printf '{"completed_units": %s, "total_units": %s, "unit": "bytes", "message": "%s of %s files"}\n' \
        "$1" "$total" "$seen" "$files" >&3
}

chunk=$((8 * 1024 * 1024))

# Writes a file in chunks to standard output, with a report after each.
stream() {
    done_here=0
    block=0
    while [ "$done_here" -lt "$2" ]; do
        dd if="$1" bs="$chunk" skip="$block" count=1 2>/dev/null || return 1
        block=$((block + 1))
        done_here=$((block * chunk < $2 ? block * chunk : $2))
        report $((bytes + done_here))
    done
}

hash() {
    seen=$((seen + 1))
    if [ -r "$1" ] && size=$(wc -c <"$1") && line=$(stream "$1" "$size" | sha); then
        bytes=$((bytes + size))
        printf '%s  %s\n' "${line%% *}" "${1#"$root"/}"
    else
        unreadable=$((unreadable + 1))
        printf 'can not read %s\n' "$1" >&2
    fi
    report "$bytes"
    if [ -n "$pause" ]; then sleep "$pause"; fi
}

input=$(cat)
escaped=$(text directory)
pause=$(number pause)
[ -n "$escaped" ] || fail 64 'the input must have a "directory"'
case $escaped in *\\u*) fail 64 'the directory must not have control characters' ;; esac
directory=$(printf '%b' "$(printf '%s\n' "$escaped" | sed 's/\\"/"/g; s/\\\//\//g')")
[ -d "$directory" ] || fail 66 "there is no directory $directory"
[ -r "$directory" ] || fail 77 "the directory $directory can not be read"
# Without slashes at the end; the root is the empty name.
root=$(cd "$directory" && pwd) || fail 77 "the directory $directory can not be entered"
root=${root%/}

files=0 total=0
walk "$root" measure

bytes=0 seen=0 unreadable=0
# The counts leave the pipeline by file descriptor 4.
result=$({ { walk "$root" hash; printf '%s %s %s\n' "$seen" "$bytes" "$unreadable" >&4; } | sort | sha; } 4>&1) ||
    fail 70 'could not hash'
# Two lines: the counts, and the digest with the name of its input.
set -- $result
printf '{"directory": "%s", "files": %s, "bytes": %s, "unreadable": %s, "digest": "%s"}\n' \
    "$escaped" "$1" "$2" "$3" "$4"
