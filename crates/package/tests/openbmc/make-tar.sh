#!/bin/sh
# Makes a firmware tar of what lies in the current folder, by the steps of OpenBMC's image class: a signature of every
# file by openssl(1), one over all signatures in their order, and GNU tar's default format, links followed.
#
# make-tar.sh OUT SYSTEM-KEY RELEASE-KEY HASH IMAGE...
#
# OpenBMC signs with one key: then SYSTEM-KEY and RELEASE-KEY are the same file. publickey is RELEASE-KEY's public half,
# unless it is there already. MANIFEST must be there. TAR_OPTIONS may change the format.
set -eu
out=$1 system=$2 release=$3 hash=$4
shift 4

[ -e publickey ] || openssl pkey -in "$release" -pubout -out publickey
signatures=
for file in "$@" MANIFEST publickey; do
    case $file in
    MANIFEST | publickey) key=$system ;;
    *) key=$release ;;
    esac
    openssl dgst "-$hash" -sign "$key" -out "$file.sig" "$file"
    signatures="$signatures $file.sig"
done
# The build's locale sorts without regard to case: images first.
# shellcheck disable=SC2086
cat $(printf '%s\n' $signatures | sort -f) > image-full
openssl dgst "-$hash" -sign "$release" -out image-full.sig image-full
rm image-full
# shellcheck disable=SC2086
tar -h -cf "$out" "$@" MANIFEST publickey $signatures image-full.sig
