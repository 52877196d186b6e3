#!/bin/sh
# Fails, to see what becomes of it: 75 is tried again, 64 is not (sysexits.h).
#
# Input: {"code": 0 to 255, "message": TEXT}, both may be left out
set -u
input=$(cat)
code=$(printf '%s\n' "$input" | sed -nE 's/.*"code" *: *([0-9]+).*/\1/p')
message=$(printf '%s\n' "$input" | sed -nE 's/.*"message" *: *"([^"\\]*)".*/\1/p')
printf '%s\n' "${message:-this job fails, as it was asked to}" >&2
exit "${code:-${FAIL_BY_DEFAULT:-1}}"
