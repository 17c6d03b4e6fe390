# Fetches the stock Debian cloud kernels that the matrix boots. Sourced by tests/run.
#
# The packages come through an apt configuration of its own (source list, lists, cache and status file below $CACHE), so
# that the machine's own apt state is neither used nor changed. The mirror is the one the machine is already set up with.
# A kernel that is cached is not looked up again; delete its folder to get the newest package.

# kernel_suite LABEL: the Debian suite that carries this kernel.
kernel_suite() {
    case $1 in
        6.1) echo bookworm ;;
        6.12) echo trixie ;;
        newest) echo sid ;;
        *) return 1 ;;
    esac
}

# debian_mirror: the first Debian archive URI of the machine's apt sources.
debian_mirror() {
    local uri
    uri=$(cat /etc/apt/sources.list.d/debian.sources 2>/dev/null | sed -n 's/^URIs: *\([^ ]*\).*/\1/p' | head -n 1)
    [ -n "$uri" ] || uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\/debian\/\{0,1\}\) .*/\2/p' | head -n 1)
    [ -n "$uri" ] || { echo "no Debian mirror in the apt sources of this machine" >&2; return 1; }
    echo "$uri"
}

# fetch_kernel LABEL: leaves $CACHE/kernels/LABEL/{vmlinuz,release}; prints nothing when it is there already.
fetch_kernel() {
    local label=$1 suite mirror apt out image package deb
    out=$CACHE/kernels/$label
    [ -s "$out/vmlinuz" ] && return 0
    suite=$(kernel_suite "$label") || { echo "unknown kernel: $label" >&2; return 1; }
    mirror=$(debian_mirror) || return 1
    apt=$CACHE/apt/$suite
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/empty.d"
    : > "$apt/status"
    echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$apt/sources.list"
    local options=(
        -qq
        -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/empty.d"
        -o "Dir::Etc::preferencesparts=$apt/empty.d" -o "Dir::Etc::preferences=$apt/none"
        -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
        -o "Dir::Cache=$apt" -o "Dir::Cache::archives=$apt/archives"
        -o APT::Architecture=amd64 -o Acquire::Languages=none -o Acquire::PDiffs=false -o APT::Sandbox::User=root
        -o Acquire::Retries=3
    )
    apt-get "${options[@]}" update || return 1
    image=$(apt-cache "${options[@]}" depends linux-image-cloud-amd64 |
        sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    [ -n "$image" ] || { echo "$suite has no cloud kernel" >&2; return 1; }
    # Newer packages keep the bootable image apart from the package that installs it.
    package=$(apt-cache "${options[@]}" depends "$image" | sed -n 's/^ *Depends: \(linux-binary-[^ ]*\)$/\1/p' | head -n 1)
    package=${package:-$image}
    (cd "$apt/archives" && rm -f ./*.deb && apt-get "${options[@]}" download "$package") || return 1
    deb=$(ls "$apt/archives/"*.deb | head -n 1)
    rm -rf "$out.part"
    mkdir -p "$out.part/root"
    dpkg-deb -x "$deb" "$out.part/root" || return 1
    cp "$(find "$out.part/root" -name 'vmlinuz*' -type f | head -n 1)" "$out.part/vmlinuz" || return 1
    echo "${image#linux-image-}" > "$out.part/release"
    rm -rf "$out.part/root" "$apt/archives"/*.deb "$out"
    mv "$out.part" "$out"
}
