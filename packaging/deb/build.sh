# Part of packaging/build: a .deb, by dpkg-deb.
# shellcheck shell=bash disable=SC2154

build_deb() { # STAGED
    local root=$1 architecture file script
    architecture=$(dpkg --print-architecture)
    mkdir -p "$root/DEBIAN"
    control "$root" "$architecture" >"$root/DEBIAN/control"
    cp "$root.config" "$root/DEBIAN/conffiles"
    for script in preinst postinst prerm postrm; do
        [ -f "packaging/deb/$script" ] && install -m 0755 "packaging/deb/$script" "$root/DEBIAN/$script"
    done
    install -D -m 0644 packaging/deb/lintian-overrides "$root/usr/share/lintian/overrides/sysadmd"
    (cd "$root" && find usr -type f -printf '%P\0' | LC_ALL=C sort -z | sed -z 's|^|usr/|' | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    chmod 0644 "$root"/DEBIAN/{control,conffiles,md5sums}
    find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    file=$out/sysadmd_${version}_$architecture.deb
    local compress=(-Zxz)
    [ "$fast" = yes ] && compress=(-Zgzip -z1)
    dpkg-deb --root-owner-group "${compress[@]}" --build "$root" "$file" >&2
    printf '%s\n' "$file"
}

control() { # STAGED ARCHITECTURE
    local depends
    # It wants a source package around it.
    mkdir -p "$work/shlibdeps/debian"
    printf 'Source: sysadmd\n\nPackage: sysadmd\nArchitecture: any\n' >"$work/shlibdeps/debian/control"
    depends=$(cd "$work/shlibdeps" && dpkg-shlibdeps -O "$made"/BIN/* 2>/dev/null | sed 's/^shlibs:Depends=//')
    cat <<END
Package: sysadmd
Version: $version
Architecture: $2
Maintainer: $maintainer
Installed-Size: $(du -k -s --apparent-size "$1" | cut -f1)
Depends: $depends, libpam-modules, libpam-runtime, systemd | systemd-standalone-sysusers
Recommends: systemd
Suggests: btrfs-progs, zfsutils-linux
Section: admin
Priority: optional
Description: $summary
 One privileged daemon per host. Admin GUIs and scripts connect to it; plugins
 take snapshots and do the other work; everything that happens is a numbered,
 prioritized, durable event, delivered to whoever subscribed, once, also when
 they were away.
 .
 It answers SysAdm clients, JSON-RPC 2.0, CloudEvents and Consul's event
 interface. sysadmctl is its command line.
END
}
