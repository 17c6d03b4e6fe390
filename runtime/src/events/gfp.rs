//! Allocation flags of the kernel by name (`%gr`), as of Linux 6.12 (`include/linux/gfp_types.h`). Bits moved in other releases; a bit
//! without a name is printed as a number.

use super::text::put;

/// Combinations first, the larger before those that they contain.
const FLAGS: [(u64, &str); 25] = [
    (0xcc0, "GFP_KERNEL"),
    (0xc00, "__GFP_RECLAIM"),
    (0x40, "__GFP_IO"),
    (0x80, "__GFP_FS"),
    (0x1, "GFP_DMA"),
    (0x2, "__GFP_HIGHMEM"),
    (0x4, "GFP_DMA32"),
    (0x8, "__GFP_MOVABLE"),
    (0x10, "__GFP_RECLAIMABLE"),
    (0x20, "__GFP_HIGH"),
    (0x100, "__GFP_ZERO"),
    (0x400, "__GFP_DIRECT_RECLAIM"),
    (0x800, "__GFP_KSWAPD_RECLAIM"),
    (0x1000, "__GFP_WRITE"),
    (0x2000, "__GFP_NOWARN"),
    (0x4000, "__GFP_RETRY_MAYFAIL"),
    (0x8000, "__GFP_NOFAIL"),
    (0x1_0000, "__GFP_NORETRY"),
    (0x2_0000, "__GFP_MEMALLOC"),
    (0x4_0000, "__GFP_COMP"),
    (0x8_0000, "__GFP_NOMEMALLOC"),
    (0x10_0000, "__GFP_HARDWALL"),
    (0x20_0000, "__GFP_THISNODE"),
    (0x40_0000, "__GFP_ACCOUNT"),
    (0x80_0000, "__GFP_ZEROTAGS"),
];

/// Appends the names of the flags with bars between them; 0 as a number.
pub fn write_flags(flags: u64, out: &mut Vec<u8>) {
    if flags == 0 {
        out.push(b'0');
        return;
    }
    let mut rest = flags;
    let mut first = true;
    let mut separate = |out: &mut Vec<u8>| {
        if !std::mem::take(&mut first) {
            out.push(b'|');
        }
    };
    for (bits, name) in FLAGS {
        if rest & bits == bits {
            separate(out);
            out.extend_from_slice(name.as_bytes());
            rest &= !bits;
        }
    }
    if rest != 0 {
        separate(out);
        put!(out, "{rest:#x}");
    }
}

#[cfg(test)]
mod tests {
    use super::write_flags;

    #[test]
    fn names() {
        let text = |flags| {
            let mut out = Vec::new();
            write_flags(flags, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(text(0xcc0), "GFP_KERNEL");
        assert_eq!(text(0xdc0), "GFP_KERNEL|__GFP_ZERO");
        assert_eq!(text(0), "0");
        assert_eq!(text(1 << 40), "0x10000000000");
    }
}
