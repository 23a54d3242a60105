#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Print the Debian mirror this machine's own apt sources use, so that a
# machine with a mirror of its own is not sent past it.
set -euo pipefail

[[ ${1-} != -h && ${1-} != --help ]] ||
	{ echo "usage: $0: print the Debian mirror of this machine"; exit 0; }

uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
	sed -nE 's,^(URIs: *|deb +(\[[^]]*\] *)?)((https?|mirror\+?[a-z]*)://[^ ]*/debian)/?( .*)?$,\3,p' |
	sed -n 1p || true)
echo "${uri:-http://deb.debian.org/debian}"
