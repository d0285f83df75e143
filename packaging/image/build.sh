# Part of packaging/build: a container image from the archive, by docker or podman.
# shellcheck shell=bash disable=SC2154

build_image() { # STAGED
    local engine context=$work/context tag=sysadmd:$version
    engine=${ENGINE:-$(command -v docker || command -v podman)} \
        || wrong "there is neither docker nor podman: apt-get install docker.io"
    mkdir -p "$context"
    cp "$(build_tar "$1")" "$context/sysadmd.tar.gz"
    cp packaging/image/Dockerfile "$context/"
    # What is there beside the archive: the state directory as tmpfiles.d makes it elsewhere, and that nobody
    # logs in with a password, because a static program cannot load PAM's modules.
    mkdir -p "$context/beside/etc/sysadmd" "$context/beside/var/lib"
    mkdir -m 0711 "$context/beside/var/lib/sysadmd"
    sed 's/^password_login = true$/password_login = false/' packaging/sysadmd.toml >"$context/beside/etc/sysadmd/sysadmd.toml"
    chmod 0640 "$context/beside/etc/sysadmd/sysadmd.toml"
    "$engine" build --tag "$tag" "$context" >&2
    printf '%s\n' "$tag"
}
