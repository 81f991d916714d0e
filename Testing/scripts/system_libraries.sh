#!/bin/sh
# Libraries that VTK's off-screen rendering and Qt load at run time, for Debian and Ubuntu.
# Without them the host's tests skip with the reason; nothing else needs them.
packages="libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libxkbcommon0 libdbus-1-3 libfontconfig1 fonts-dejavu-core"
command -v dpkg-query >/dev/null 2>&1 || exit 0
missing=""
for package in $packages; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    # shellcheck disable=SC2086
    apt-get update -qq && apt-get install -qq --no-install-recommends $missing && exit 0
fi
echo "The panel's tests need these system packages, which could not be installed:$missing" >&2
echo "Install them with: sudo apt-get install$missing" >&2
exit 0
