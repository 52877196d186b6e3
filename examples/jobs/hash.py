#!/usr/bin/env python3
"""Hashes every file under a directory, and reports how far it has come by bytes.

Input:    {"directory": PATH, "pause": SECONDS}    The pause after each file goes easy on a disk;
                                                   it may be left out.
Response: {"directory", "files", "bytes", "unreadable", "digest"}

The digest is the SHA-256 of the sorted lines `HASH  PATH`, as in hash.sh.
"""

import hashlib
import json
import os
import sys
import time

USAGE, NO_INPUT = 64, 66
CHUNK = 1024 * 1024


def fail(code, message):
    print(message, file=sys.stderr)
    sys.exit(code)


def regular_files(root):
    """All regular files, as bytes: names need not be UTF-8."""
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def size_of(path):
    try:
        return os.path.getsize(path) if os.access(path, os.R_OK) else 0
    except OSError:
        return 0


class Reporter:
    """Writes progress to file descriptor 3, if there is one."""

    def __init__(self, files, total):
        self.files, self.total = files, total
        try:
            self.out = os.fdopen(3, "w", buffering=1)
        except OSError:
            self.out = None

    def report(self, seen, done):
        if self.out is None:
            return
        progress = {
            "completed_units": done,
            "total_units": self.total,
            "unit": "bytes",
            "message": f"{seen} of {self.files} files",
        }
        print(json.dumps(progress), file=self.out)


def main():
    request = json.load(sys.stdin)
    directory = request.get("directory")
    if not isinstance(directory, str) or not directory:
        fail(USAGE, 'the input must have a "directory"')
    if not os.path.isdir(directory):
        fail(NO_INPUT, f"there is no directory {directory}")

    root = os.fsencode(os.path.abspath(directory))
    paths = list(regular_files(root))
    reporter = Reporter(len(paths), sum(map(size_of, paths)))
    lines, done, unreadable = [], 0, 0
    for seen, path in enumerate(paths, start=1):
        digest = hashlib.sha256()
        start = done
        try:
            with open(path, "rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    done += len(chunk)
                    reporter.report(seen, done)
            lines.append(digest.hexdigest().encode() + b"  " + os.path.relpath(path, root) + b"\n")
        except OSError as error:
            done = start
            unreadable += 1
            print(f"can not read {os.fsdecode(path)!r}: {error.strerror}", file=sys.stderr)
        reporter.report(seen, done)
        time.sleep(request.get("pause", 0))

    # Line by line, as sort(1) does it: a name may have an end of line in it.
    ordered = sorted(b"".join(lines).split(b"\n")[:-1])
    response = {
        "directory": directory,
        "files": len(paths),
        "bytes": done,
        "unreadable": unreadable,
        "digest": hashlib.sha256(b"".join(line + b"\n" for line in ordered)).hexdigest(),
    }
    print(json.dumps(response))


if __name__ == "__main__":
    main()
