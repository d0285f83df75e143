# Part of packaging/build: an .rpm, by rpmbuild, and the specification it is built from.
# shellcheck shell=bash disable=SC2154

build_rpm() { # STAGED
    local root=$1 top=$work/rpmbuild file payload=w19.zstdio
    [ "$fast" = yes ] && payload=w1.gzdio
    command -v rpmbuild >/dev/null || wrong "rpmbuild is missing: apt-get install rpm"
    mkdir -p "$top"/{SPECS,RPMS}
    specification "$root" >"$top/SPECS/sysadmd.spec"
    rpmbuild -bb --quiet --define "_topdir $top" --define "_binary_payload $payload" \
        --define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" \
        --define "_buildhost packages.invalid" --define "_build_id_links none" --buildroot "$top/BUILDROOT" \
        "$top/SPECS/sysadmd.spec" >&2
    file=$(find "$top/RPMS" -name '*.rpm')
    cp "$file" "$out/"
    printf '%s\n' "$out/$(basename "$file")"
}

specification() { # STAGED
    # What is older than its release sorts before it; a hyphen is not allowed.
    cat <<END
Name: sysadmd
Version: ${version//-/\~}
Release: 1
Summary: ${summary^}
License: BSD-2-Clause
Requires: systemd
Requires(post): systemd
Requires(preun): systemd

%description
One privileged daemon per host. Admin GUIs and scripts connect to it; plugins
take snapshots and do the other work; everything that happens is a numbered,
prioritized, durable event, delivered to whoever subscribed, once, also when
they were away.

# It is stripped already, and its pages are packed.
%define __os_install_post %{nil}
%define debug_package %{nil}

%install
mkdir -p %{buildroot}
cp -a "$1"/. %{buildroot}/

%post
systemd-sysusers sysadmd.conf || :
if [ -d /run/systemd/system ]; then
    systemd-tmpfiles --create sysadmd.conf || :
    systemctl daemon-reload || :
fi
if [ \$1 -eq 1 ]; then
    systemctl --no-reload preset sysadmd.service sysadmd.socket >/dev/null 2>&1 || :
    echo "sysadmd is installed: systemctl enable --now sysadmd, then sysadmctl setup"
fi

%preun
if [ \$1 -eq 0 ]; then
    systemctl --no-reload disable --now sysadmd.service sysadmd.socket >/dev/null 2>&1 || :
fi

%postun
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ \$1 -ge 1 ]; then systemctl try-restart sysadmd.service >/dev/null 2>&1 || :; fi
fi

%files
%defattr(-,root,root,-)
$(files_of "$1")
END
}

# Every file with its mode; directories that others have too are theirs.
files_of() { # STAGED
    local path mode mark
    find "$1" -type f -printf '%P %m\n' | LC_ALL=C sort | while read -r path mode; do
        mark=""
        grep -qxF "/$path" "$1.config" && mark="%config(noreplace) "
        case $path in usr/share/man/*|usr/share/doc/*) mark="%doc " ;; usr/share/licenses/*) mark="%license " ;; esac
        printf '%s%%attr(0%s, root, root) "/%s"\n' "$mark" "$mode" "$path"
    done
    printf '%%dir %%attr(0755, root, root) /etc/sysadmd\n'
    printf '%%dir /usr/libexec/sysadmd\n%%dir /usr/share/doc/sysadmd\n%%dir /usr/share/licenses/sysadmd\n'
}
