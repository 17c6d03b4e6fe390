# Boots the matrix kernels in QEMU with an initramfs of the static binaries and the cases. Sourced by tests/run.
#
# The machine has no network and no disk but scratch files; it reports on its second serial line, which lands in a file.
# Its two processors take turns (thread=single): with one host thread each, QEMU lets one run stale instructions while the
# other patches them, and the kernel dies of a stray int3.
#
# A machine that says nothing for $STALL seconds is ended, and the case that it was running has failed.

STALL=${TAPLINE_VM_STALL:-150}

# make_initramfs OUT BIN_DIR CASES_DIR [TOOLS_DIR]: one for all kernels, with the modules of those that are cached.
make_initramfs() {
    local out=$1 bin=$2 cases=$3 tools=${4:-} root program folder kernel
    root=$(mktemp -d)
    mkdir -p "$root"/{bin,proc,sys,dev,tmp,etc,root,tests}
    cp /bin/busybox "$root/bin/busybox"
    for program in $(busybox --list); do ln -s busybox "$root/bin/$program" 2> /dev/null; done
    for program in tapline cases workload generate; do
        if [ -x "$bin/$program" ]; then cp "$bin/$program" "$root/bin/$program"; fi
    done
    if [ -d "$bin/programs" ]; then cp -a "$bin/programs" "$root/bin/"; fi
    if [ -f "$bin/generated" ]; then cp "$bin/generated" "$root/tests/generated"; fi
    ln -sf tapline "$root/bin/bpftrace"
    cp "$here/lib/init" "$root/init"
    cp "$here/bench/attach" "$root/bin/attach"
    chmod +x "$root/init" "$root/bin/attach"
    cp -a "$cases" "$root/tests/cases"
    if [ -d "$tools" ]; then cp -a "$tools" "$root/tests/tools"; fi
    for folder in examples docs; do
        if [ -d "$here/../$folder" ]; then cp -a "$here/../$folder" "$root/$folder"; fi
    done
    for kernel in "$CACHE/kernels/"*/release; do
        if [ -d "${kernel%release}modules" ]; then
            mkdir -p "$root/lib/modules"
            cp -a "${kernel%release}modules" "$root/lib/modules/$(cat "$kernel")"
        fi
    done
    echo "root:x:0:0:root:/root:/bin/sh" > "$root/etc/passwd"
    echo "root:x:0:" > "$root/etc/group"
    printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"
    (cd "$root" && find . -print0 | cpio --null --create --format=newc --quiet) > "$out"
    rm -rf "$root"
}

# boot LABEL OUT_DIR [KERNEL_ARGUMENTS]: leaves OUT_DIR/{report,console}; fails when the machine did not end properly.
boot() {
    local label=$1 out=$2 arguments=${3:-} kernel=$CACHE/kernels/$1 pid size last seen now
    mkdir -p "$out"
    rm -f "$out/report" "$out/console"
    : > "$out/report"
    rm -f "$out/disk"
    truncate -s 64M "$out/disk"
    local disks=(-drive "file=$out/disk,if=none,id=scratch,format=raw,cache=unsafe" -device nvme,drive=scratch,serial=scratch)
    if [ -n "${REFERENCE_IMAGE:-}" ]; then
        disks+=(-drive "file=$REFERENCE_IMAGE,if=none,id=reference,format=raw,cache=unsafe,snapshot=on"
            -device nvme,drive=reference,serial=reference)
    fi
    qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 2 -m "${TAPLINE_VM_MEMORY:-1024}" -nic none -nographic -no-reboot \
        -monitor none -serial "file:$out/console" -serial "file:$out/report" \
        "${disks[@]}" -kernel "$kernel/vmlinuz" -initrd "$INITRAMFS" \
        -append "console=ttyS0 no_timer_check quiet panic=-1 oops=panic $arguments" < /dev/null > "$out/qemu" 2>&1 &
    pid=$!
    seen=-1
    last=$(date +%s)
    while kill -0 "$pid" 2> /dev/null; do
        sleep 0.5
        size=$(stat -c %s "$out/report")
        now=$(date +%s)
        if [ "$size" != "$seen" ]; then
            seen=$size
            last=$now
        elif [ $((now - last)) -gt "$STALL" ]; then
            echo "hung for $STALL s" >> "$out/report"
            kill "$pid"
        fi
    done
    wait "$pid" 2> /dev/null
    rm -f "$out/disk"
    grep -q '^end [0-9]*$' "$out/report"
}
