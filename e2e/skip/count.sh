#!/usr/bin/env bash
# count.sh FILE: how many tests did not run, from the file to which each skip added a line. The last line is the sum, loud unless
# it is zero.
set -euo pipefail
[ $# -eq 1 ] || { sed -n 's/^# \(count.sh FILE\).*/usage: \1/p' "$0" >&2; exit 2; }
count=$(wc -l <"$1")
if [ "$count" = 0 ]; then
  echo "skipped: 0"
  exit
fi
echo
sort "$1"
echo
echo "!!! SKIPPED: $count. What they would have proven is unproven on this machine; the lines above say what it lacks !!!"
