# Fetches the stock Debian cloud kernels that the matrix boots, and the tools of Debian's bpftrace packages. Sourced by tests/run.
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

# suite_apt SUITE: an apt of its own for this suite, brought up to date. Sets apt_options, and apt_folder to where it lives.
suite_apt() {
    local suite=$1 mirror
    mirror=$(debian_mirror) || return 1
    apt_folder=$CACHE/apt/$suite
    mkdir -p "$apt_folder/lists/partial" "$apt_folder/archives/partial" "$apt_folder/empty.d"
    : > "$apt_folder/status"
    echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$apt_folder/sources.list"
    apt_options=(
        -qq
        -o "Dir::Etc::sourcelist=$apt_folder/sources.list" -o "Dir::Etc::sourceparts=$apt_folder/empty.d"
        -o "Dir::Etc::preferencesparts=$apt_folder/empty.d" -o "Dir::Etc::preferences=$apt_folder/none"
        -o "Dir::State::lists=$apt_folder/lists" -o "Dir::State::status=$apt_folder/status"
        -o "Dir::Cache=$apt_folder" -o "Dir::Cache::archives=$apt_folder/archives"
        -o APT::Architecture=amd64 -o Acquire::Languages=none -o Acquire::PDiffs=false -o APT::Sandbox::User=root
        -o Acquire::Retries=3
    )
    apt-get "${apt_options[@]}" update
}

# unpack_package PACKAGE FOLDER: the files of a package of the suite that suite_apt has set up.
unpack_package() {
    (cd "$apt_folder/archives" && rm -f ./*.deb && apt-get "${apt_options[@]}" download "$1") || return 1
    mkdir -p "$2"
    dpkg-deb -x "$(ls "$apt_folder/archives/"*.deb | head -n 1)" "$2" || return 1
    rm -f "$apt_folder/archives"/*.deb
}

# The modules that the machines load, in this order: a network device, and a block device with tracepoints and what that needs.
MODULES="dummy configfs null_blk"

# keep_modules FOLDER OUT: takes them out of an unpacked package, as plain files whose names keep the order.
keep_modules() {
    local name file n=0
    mkdir -p "$2" || return 1
    for name in $MODULES; do
        n=$((n + 1))
        file=$(find "$1" -name "$name.ko" -o -name "$name.ko.xz" | head -n 1)
        case $file in
            *.xz) busybox xz -d -c "$file" > "$2/$n-$name.ko" || return 1 ;;
            *.ko) cp "$file" "$2/$n-$name.ko" || return 1 ;;
            *) echo "the package has no module $name" >&2; return 1 ;;
        esac
    done
}

# is_whole FOLDER: whether a cached kernel has all that the machines need; those of an older set-up lack modules.
is_whole() {
    local name
    [ -s "$1/vmlinuz" ] || return 1
    for name in $MODULES; do
        [ -s "$(echo "$1/modules/"*"-$name.ko")" ] || return 1
    done
}

# fetch_kernel LABEL: leaves $CACHE/kernels/LABEL/{vmlinuz,release,modules}; prints nothing when it is there already.
fetch_kernel() {
    local label=$1 suite out image package packages apt_folder apt_options
    out=$CACHE/kernels/$label
    is_whole "$out" && return 0
    suite=$(kernel_suite "$label") || { echo "unknown kernel: $label" >&2; return 1; }
    suite_apt "$suite" || return 1
    image=$(apt-cache "${apt_options[@]}" depends linux-image-cloud-amd64 |
        sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    [ -n "$image" ] || { echo "$suite has no cloud kernel" >&2; return 1; }
    # Newer packages keep the bootable image and the modules apart from the package that installs them.
    packages=$(apt-cache "${apt_options[@]}" depends "$image" | sed -n 's/^ *Depends: \(linux-\(binary\|modules\)-[^ ]*\)$/\1/p')
    rm -rf "$out.part"
    for package in ${packages:-$image}; do unpack_package "$package" "$out.part/root" || return 1; done
    cp "$(find "$out.part/root" -name 'vmlinuz*' -type f | head -n 1)" "$out.part/vmlinuz" || return 1
    keep_modules "$out.part/root" "$out.part/modules" || return 1
    echo "${image#linux-image-}" > "$out.part/release"
    rm -rf "$out.part/root" "$out"
    mv "$out.part" "$out"
}

# fetch_tools LABEL SUITE: leaves the tools of the suite's bpftrace package in $CACHE/tools/LABEL.
fetch_tools() {
    local out=$CACHE/tools/$1 apt_folder apt_options
    [ -d "$out" ] && return 0
    suite_apt "$2" || return 1
    rm -rf "$out.part"
    unpack_package bpftrace "$out.part/root" || return 1
    mkdir -p "$out.part/tools"
    cp "$out.part/root/usr/sbin/"*.bt "$out.part/tools/" || return 1
    mv "$out.part/tools" "$out"
    rm -rf "$out.part"
}
