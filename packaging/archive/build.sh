# Part of packaging/build: an archive to be unpacked over the root of any Linux.
# shellcheck shell=bash disable=SC2154

build_tar() { # STAGED
    local root=$1 program file level=-9
    for program in "$made"/BIN/*; do
        is_static "$program" || wrong "$program needs libraries of the machine: build it with -C target-feature=+crt-static"
    done
    [ "$fast" = yes ] && level=-1
    file=$out/sysadmd-$version-$(uname -m).tar.gz
    # No directories: where one of them is a link on the machine, as /usr/sbin may be, it stays one.
    (cd "$root" && find etc usr -type f | LC_ALL=C sort \
        | tar --create --no-recursion --files-from=- --owner=0 --group=0 --numeric-owner --format=gnu --mtime="@$SOURCE_DATE_EPOCH") \
        | gzip "$level" --no-name >"$file"
    printf '%s\n' "$file"
}

# Whether a program asks for nothing but the kernel.
is_static() { # PROGRAM
    ! readelf --program-headers --wide "$1" | grep -q INTERP && ! readelf --dynamic --wide "$1" | grep -q NEEDED
}
