# Builds the small programs that user-side cases trace. Sourced by tests/run; needs gcc, g++, rustc, go and binutils. All but
# `sorter` are static: the machines have no libraries.
#
# NAME is built with optimisation, frame pointers and debug information. Beside it lie NAME.nofp, without frame pointers, and, of the C program,
#                                                  NAME.stripped   without any symbol or debug information
#   NAME.nodebug   with symbols only               NAME.split      stripped; its debug information is in NAME.split.debug, by debuglink
#   NAME.zlib, NAME.zlib-gnu, NAME.zstd            with packed debug information
#   NAME.absurd    the same, of which it says that it had 2^40 bytes
#   NAME.away      the same, but the debug information lies in the folder `elsewhere`
# of the Rust program NAME.v0, whose names are mangled in the newer way, and of the Go program NAME.stripped.

# make_programs OUT: does nothing when they are newer than their sources.
make_programs() {
    local out=$1 sources=$here/programs flags=(-O1 -g -gdwarf-5 -static -fno-pie -no-pie -fcf-protection=none -Wall)
    local keep=(-fno-omit-frame-pointer -mno-omit-leaf-frame-pointer) drop=(-fomit-frame-pointer)
    if [ -e "$out/done" ] && [ -z "$(find "$sources" "$here/lib/programs.sh" -newer "$out/done")" ]; then return; fi
    rm -rf "$out" && mkdir -p "$out" || return 1
    (
        set -e
        # The debug information names the sources without a path of this machine.
        cd "$sources"
        gcc "${flags[@]}" "${keep[@]}" -ffile-prefix-map="$sources=/programs" shapes.c -o "$out/shapes"
        gcc "${flags[@]}" "${drop[@]}" -ffile-prefix-map="$sources=/programs" shapes.c -o "$out/shapes.nofp"
        gcc -O1 -fomit-frame-pointer -Wall sorter.c -o "$out/sorter"
        g++ "${flags[@]}" "${keep[@]}" -ffile-prefix-map="$sources=/programs" zoo.cc -o "$out/zoo"
        g++ "${flags[@]}" "${drop[@]}" -ffile-prefix-map="$sources=/programs" zoo.cc -o "$out/zoo.nofp"
        gcc "${flags[@]}" "${keep[@]}" packed.c -o "$out/packed"
        gcc -O1 -g -gdwarf-5 -shared -nostdlib -fPIC "${keep[@]}" -fno-optimize-sibling-calls -Wl,-e,packed_entry \
            -ffile-prefix-map="$sources=/programs" packed_library.c -o "$out/packed.so"
        "$out/packed" make "$out/packed.so" "$out/packed.apk"
        cd "$out"
        strip --strip-debug shapes -o shapes.nodebug
        strip shapes -o shapes.stripped
        mkdir elsewhere
        objcopy --only-keep-debug shapes elsewhere/shapes.away.debug
        strip shapes -o shapes.away
        (cd elsewhere && objcopy --add-gnu-debuglink=shapes.away.debug ../shapes.away)
        for form in zlib zlib-gnu zstd; do
            objcopy --compress-debug-sections=$form shapes shapes.$form
        done
        # The length stands 8 bytes behind the start of a packed section.
        cp shapes.zlib shapes.absurd
        local start; start=$(readelf -SW shapes.absurd | sed -n 's/.* \.debug_info *PROGBITS *[0-9a-f]* \([0-9a-f]*\) .*/\1/p')
        printf '\0\0\0\0\0\1\0\0' | dd of=shapes.absurd bs=1 seek=$((16#$start + 8)) conv=notrunc status=none
        objcopy --only-keep-debug shapes shapes.split.debug
        strip shapes -o shapes.split
        objcopy --add-gnu-debuglink=shapes.split.debug shapes.split
        local rust=(--edition 2024 -C opt-level=1 -C debuginfo=2 -C force-frame-pointers=yes -C target-feature=+crt-static --target x86_64-unknown-linux-gnu)
        rustc "${rust[@]}" --remap-path-prefix "$sources=/programs" "$sources/crate.rs" --crate-name crates -o "$out/crate"
        rustc "${rust[@]}" -C force-frame-pointers=no --remap-path-prefix "$sources=/programs" "$sources/crate.rs" --crate-name crates -o "$out/crate.nofp"
        rustc "${rust[@]}" -C symbol-mangling-version=v0 --remap-path-prefix "$sources=/programs" "$sources/crate.rs" --crate-name crates -o "$out/crate.v0"
        build_go "$sources/freight.go" "$out/freight"
        build_go "$sources/freight.go" "$out/freight.stripped" -ldflags='-s -w'
        touch done
    )
}

# build_go SOURCE OUT FLAG...: one file without modules or network, whatever this machine's settings of Go say.
build_go() {
    local source=$1 out=$2
    shift 2
    env GOENV=off GOFLAGS= GO111MODULE=off GOTOOLCHAIN=local CGO_ENABLED=0 GOCACHE="$root/target/go" GOPATH="$root/target/go" \
        go build -gcflags "-trimpath=$(dirname "$source")=>/programs" "$@" -o "$out" "$source"
}
