#!/bin/sh
# The disk that hosts with a kernel of their own begin with: the tree "$1" as it is now, in the folder "$2".
set -eu
truncate -s 16G "$2/disk.raw"
mkfs.ext4 -q -F -d "$1" "$2/disk.raw"
