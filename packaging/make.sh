# Part of packaging/build: what is made for every package, and the tree of files of one.
# shellcheck shell=bash disable=SC2154

# Builds the programs unless they are there, and says in `from` where. PAM loads its modules when it
# runs: no static program can.
programs_of() { # LINKAGE
    local host options=(--locked --profile "$profile" --package sysadmd --bins)
    programs=(sysadmd sysadmctl)
    [ "$1" = static ] || programs+=(sysadmd-pam)
    from=$binaries
    [ -z "$from" ] || return 0
    local folder=$profile
    [ "$profile" = dev ] && folder=debug
    if [ "$1" = static ]; then
        host=$(rustc -vV | sed -n 's/^host: //p')
        RUSTFLAGS="-C target-feature=+crt-static" cargo build "${options[@]}" --target "$host" --target-dir target/static >&2
        from=target/static/$host/$folder
    else
        cargo build "${options[@]}" --package sysadmd-pam >&2
        from=target/$folder
    fi
}

# The programs without what only a debugger reads, their pages and completions, and the list of parts.
make_all() { # LINKAGE MADE
    local made=$2 program shell programs from
    programs_of "$1"
    mkdir -p "$made"/{BIN,man1,man5,man8,completions}
    for program in "${programs[@]}"; do
        strip --strip-unneeded --remove-section=.comment -o "$made/BIN/$program" "$from/$program"
    done
    "$made/BIN/sysadmctl" man --out "$made/man1"
    "$made/BIN/sysadmd" write man >"$made/man8/sysadmd.8"
    configuration_page >"$made/man5/sysadmd.toml.5"
    for program in sysadmd sysadmctl; do
        for shell in bash zsh fish; do
            local file=$program.$shell
            [ $shell = zsh ] && file=_$program
            completions "$made/BIN/$program" "$shell" >"$made/completions/$file"
        done
    done
    gzip --best --no-name "$made"/man?/*
    packaging/sbom "$version" >"$made/sbom.cdx.json"
    { printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
      printf 'Upstream-Name: sysadmd\n\nFiles: *\n'
      printf 'Copyright: %s\n' "$(sed -n 's/^Copyright (c) //p' LICENSE)"
      printf 'License: BSD-2-Clause\n'
      sed -n '/^Redistribution/,$s/^$/./p;/^Redistribution/,$s/^\(..*\)/\1/p' LICENSE | sed 's/^/ /'
      printf '\nComment: the licence of each part that is linked in stands in sbom.cdx.json.\n'; } >"$made/copyright"
    { printf 'sysadmd (%s) unstable; urgency=medium\n\n  * This release.\n\n' "$version"
      printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"; } >"$made/changelog"
    gzip --best --no-name "$made/changelog"
}

completions() { # PROGRAM SHELL
    case $1 in
        */sysadmctl) "$1" completions "$2" ;;
        *) "$1" write completions "$2" ;;
    esac
}

# sysadmd.toml(5): the commented file as it is installed.
configuration_page() {
    printf '.TH sysadmd.toml 5 "" "sysadmd %s" "Configuration"\n' "$version"
    printf '.SH NAME\nsysadmd.toml \\- configuration of sysadmd\n'
    printf '.SH DESCRIPTION\n/etc/sysadmd/sysadmd.toml, as it is installed: every key with its default.\n.nf\n'
    sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\\([.']\\)/\\\\\\&\\1/" packaging/sysadmd.toml
    printf '.fi\n.SH SEE ALSO\n.BR sysadmd (8),\n.BR sysadmctl (1)\n'
}

# Lays everything in packaging/assets that this kind of package holds into a directory, and writes the
# paths of the administrator's own files to DIR.config.
stage() { # KIND DIR
    local kind=$1 root=$2 source destination mode what file
    mkdir -p "$root"
    : >"$root.config"
    while read -r source destination mode what; do
        case $source in ''|'#'*) continue ;; esac
        case $what in *-"$kind") ;; *-*) continue ;; esac
        case $source in
            BIN/*) source=$made/$source ;;
            MADE/*) source=$made/${source#MADE/} ;;
        esac
        case $source in
            *'*') for file in $source; do
                      install -D -m "$mode" "$file" "$root$destination/$(basename "$file")"
                  done ;;
            *) install -D -m "$mode" "$source" "$root$destination" ;;
        esac
        [ "${what%-*}" = config ] && printf '%s\n' "$destination" >>"$root.config"
    done <packaging/assets
    find "$root" -type d -exec chmod 0755 {} +
    find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}
