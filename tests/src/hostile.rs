//! Files of traced programs and of the system as the fuzzer takes them: whoever is traced can write them. Reading must neither panic nor
//! take memory without bound, whatever stands in them.

use std::path::Path;

use tapline::debug_info::DebugInfo;
use tapline::symbols::elf::ElfSymbols;
use tapline::symbols::image::Image;
use tapline::symbols::maps::{Maps, PerfMap};
use tapline::system::{instructions, loader_cache, usdt};
use tapline::unwind::table::Table;
use tapline_compiler::probes::usdt::parse_all;
use tapline_compiler::target::{Arch, function_at};
use tapline_compiler::types::btf::{BtfType, KindSet};

/// Something that must cope with every sequence of bytes.
pub struct Reader {
    /// As the command line names it.
    pub name: &'static str,
    /// Well-formed inputs to begin with; the folder is that of the small programs.
    pub samples: fn(&Path) -> Vec<Vec<u8>>,
    /// Reads one.
    pub read: fn(&[u8]),
}

/// All of them.
pub const READERS: &[Reader] = &[
    Reader { name: "elf", samples: programs, read: elf },
    Reader { name: "dwarf", samples: programs, read: dwarf },
    Reader { name: "eh-frame", samples: programs, read: eh_frame },
    Reader { name: "usdt", samples: notes, read: usdt_notes },
    Reader { name: "usdt-arguments", samples: arguments, read: usdt_arguments },
    Reader { name: "perf-map", samples: perf_maps, read: perf_map },
    Reader { name: "archive", samples: archives, read: archive },
    Reader { name: "ld-so-cache", samples: caches, read: cache },
];

/// Addresses that are looked up in each input.
const ADDRESSES: [u64; 8] = [0, 1, 0x1000, 0x40_1619, 0x40_16ba, 0x40_1700, 1 << 47, u64::MAX];

fn programs(folder: &Path) -> Vec<Vec<u8>> {
    ["shapes.split.debug", "shapes.split", "shapes.zlib", "shapes.zstd", "zoo"]
        .iter()
        .filter_map(|name| std::fs::read(folder.join(name)).ok())
        .collect()
}

fn elf(bytes: &[u8]) {
    let Ok(symbols) = ElfSymbols::parse(bytes) else { return };
    for address in ADDRESSES {
        let _ =
            (symbols.function_at(address), symbols.segments.offset_of(address), symbols.segments.address_of(address));
    }
    for symbol in symbols.iter().take(8) {
        let _ = symbols
            .segments
            .offset_of(symbol.address)
            .map(|at| instructions::place_in(bytes, &symbols, at.saturating_add(16)));
    }
    assert!(symbols.iter().map(|symbol| symbol.name.len()).sum::<usize>() <= 4 * bytes.len() + (1 << 20));
}

fn dwarf(bytes: &[u8]) {
    let Some(info) = DebugInfo::parse(bytes) else { return };
    for address in ADDRESSES {
        let _ = info.frames(address);
        if let Some(btf) = info.function_types(&[(address, function_at(address))]) {
            for id in btf.own_ids() {
                let _ = (btf.size_of(id), btf.align_of(id), btf.floats(id).same);
                if let BtfType::Struct(it) | BtfType::Union(it) = btf.get(id) {
                    let _ = it.members().count();
                }
            }
        }
    }
    let _ = (info.places("shapes.c", 26, None), info.lines("shapes.c").len());
    for kinds in [KindSet::STRUCT, KindSet::UNION, KindSet::ENUM, KindSet::TYPEDEF] {
        let _ = (info.named_type(kinds, "shape"), info.named_type(kinds, "shape_t"));
    }
}

fn eh_frame(bytes: &[u8]) {
    let _ = Table::parse(bytes);
}

/// A section of notes with two probes.
fn notes(_: &Path) -> Vec<Vec<u8>> {
    let note = |texts: &[u8]| {
        let mut content: Vec<u8> = [0x1000u64, 0x2000, 0x3000].iter().flat_map(|word| word.to_le_bytes()).collect();
        content.extend(texts);
        let mut bytes: Vec<u8> = [8u32, content.len() as u32, 3].iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(b"stapsdt\0");
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    vec![[note(b"app\0tick\0-4@%edi 8@%rsi\0"), note(b"app\0tock\0\0")].concat()]
}

fn usdt_notes(bytes: &[u8]) {
    assert!(usdt::notes(bytes).count() <= bytes.len());
}

fn arguments(_: &Path) -> Vec<Vec<u8>> {
    let texts = [
        "-4@%edi 8@%rsi 4@$-5 1@%ah",
        "8@-16(%rbp) -8@8(%rax,%rbx,4) 4@global(%rip) 8@(%rsp)",
        "4f@%xmm0 8@%fs:0x28",
        "-4@x0 8@[sp, 16] 4@[x1, x2, lsl 3] 8@[sp] 4@w3 8@31",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn usdt_arguments(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for arch in [Arch::X86_64, Arch::Aarch64] {
        assert!(parse_all(&text, arch).len() <= text.len());
    }
}

fn perf_maps(_: &Path) -> Vec<Vec<u8>> {
    vec![
        b"7f10 20 old\n7f10 30 LazyCompile:~run app.js:1\n0x8000 8 stub\n".to_vec(),
        b"00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/dbus-daemon\n".to_vec(),
    ]
}

fn perf_map(bytes: &[u8]) {
    let map = PerfMap::read(bytes);
    let maps = Maps::parse(&String::from_utf8_lossy(bytes));
    for address in ADDRESSES {
        let _ = (map.at(address), maps.at(address));
    }
}

fn archives(folder: &Path) -> Vec<Vec<u8>> {
    std::fs::read(folder.join("packed.apk")).into_iter().collect()
}

fn archive(bytes: &[u8]) {
    let path = std::env::temp_dir().join(format!("tapline-fuzz-{}.apk", std::process::id()));
    if std::fs::write(&path, bytes).is_err() {
        return;
    }
    let paths = ["!/lib/packed.so", "!/lib/compressed.so", "!/", ""].map(|name| format!("{}{name}", path.display()));
    let symbols = paths.map(|path| ElfSymbols::load(path.as_ref()).is_ok());
    let around =
        ADDRESSES.map(|offset| Image::open(&path).map(|whole| ElfSymbols::of(whole.around(offset), &path).is_ok()));
    let _ = (symbols, around, std::fs::remove_file(&path));
}

fn caches(_: &Path) -> Vec<Vec<u8>> {
    let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
    bytes.extend([2u32, 40].iter().flat_map(|word| word.to_le_bytes()));
    bytes.resize(48, 0);
    for (name, path) in [(96u32, 106u32), (96, 106)] {
        bytes.extend([0x303, name, path, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    }
    bytes.extend(b"libc.so.6\0/lib/libc.so.6\0");
    vec![bytes]
}

fn cache(bytes: &[u8]) {
    for name in ["libc", "libc.so", "libc.so.6", ""] {
        let _ = loader_cache::search(bytes, name);
    }
}
