#!/bin/sh
# Sleeps, and reports each second.
#
# Input:    {"seconds": NUMBER}, 10 if left out
# Response: {"slept": NUMBER}
set -u
{ true >&3; } 2>/dev/null || exec 3>/dev/null

seconds=$(sed -nE 's/.*"seconds" *: *([0-9]+).*/\1/p')
seconds=${seconds:-10}
slept=0
while [ "$slept" -lt "$seconds" ]; do
    printf '{"completed_units": %s, "total_units": %s, "unit": "seconds"}\n' "$slept" "$seconds" >&3
    sleep 1
    slept=$((slept + 1))
done
printf '{"completed_units": %s, "total_units": %s, "unit": "seconds"}\n' "$slept" "$seconds" >&3
printf '{"slept": %s}\n' "$slept"
