#!/bin/sh
# Debian's packages that tests need, for Debian and Ubuntu, installed where that is allowed. Without them the tests that
# need them are skipped with the reason; nothing else needs them.
#   libraries    VTK's off-screen rendering and Qt load them at run time
#   validators   independent judges of the DICOM series that are written: dciodvfy, and an archive
libraries="libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libxkbcommon0 libdbus-1-3 libfontconfig1 fonts-dejavu-core"
validators="dicom3tools orthanc orthanc-dicomweb"

is_installed() {
    dpkg-query --show --showformat='${Status}' "$1" 2>/dev/null | grep -q "ok installed"
}

# The package of the archive starts it as a service, which no test uses.
stop_orthanc() {
    if [ -d /run/systemd/system ]; then
        systemctl disable --now --quiet orthanc
    else
        service orthanc stop
        update-rc.d orthanc disable
    fi >/dev/null 2>&1
}

install_missing() {
    who=$1
    shift
    missing=""
    for package in "$@"; do
        is_installed "$package" || missing="$missing $package"
    done
    [ -z "$missing" ] && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        # shellcheck disable=SC2086
        apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -qq -o DPkg::Lock::Timeout=120 --no-install-recommends $missing && installed=yes || installed=no
        case "$missing" in *orthanc*) stop_orthanc ;; esac
        [ "$installed" = yes ] && return
    fi
    echo "$who need these system packages, which could not be installed:$missing" >&2
    echo "Install them with: sudo apt-get install$missing" >&2
}

command -v dpkg-query >/dev/null 2>&1 || exit 0
# shellcheck disable=SC2086
install_missing "The panel's tests" $libraries
# shellcheck disable=SC2086
install_missing "The validation of DICOM series and the test with an archive" $validators
exit 0
