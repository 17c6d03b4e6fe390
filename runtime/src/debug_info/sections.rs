//! The bytes of a section, unpacked where the linker has packed them (`-gz`: zlib, also in its older form `.zdebug_*`, or zstd).
//! What a packed section says about its size comes from whoever made the file, so that it is judged before any memory is taken.

use std::io::Read;

use object::read::{Object, ObjectSection, ReadRef};
use object::{CompressedFileRange, CompressionFormat, File};
use ruzstd::decoding::StreamingDecoder;

/// Bytes of an unpacked section.
const MOST_BYTES: u64 = 4 << 30;

/// How many times as long as its packed form a section may be; debug information shrinks to a third, its strings to a tenth.
const MOST_RATIO: u64 = 64;

/// Bytes that every section may have: of short ones the ratio says nothing.
const ALWAYS_FINE: u64 = 1 << 20;

/// Why a section is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It says that it is longer than such a section can be.
    Absurd {
        /// Its name.
        section: String,
        /// Bytes in the file.
        packed: u64,
        /// Bytes that it says it has.
        unpacked: u64,
    },
    /// It is packed in a way that is not known, or damaged.
    Damaged {
        /// Its name.
        section: String,
    },
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absurd { section, packed, unpacked } => write!(
                f,
                "its {section} says that {packed} bytes become {unpacked}: `objcopy --decompress-debug-sections` makes a file that is read"
            ),
            Self::Damaged { section } => write!(f, "its {section} is packed in a way that cannot be read"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// The bytes of a section of debug information by its name, as the compiler wrote them; none where there is no such section.
pub fn read<'data, R: ReadRef<'data>>(file: &File<'data, R>, name: &str) -> Result<Vec<u8>, Unreadable> {
    let older = || file.section_by_name(&name.replacen(".debug_", ".zdebug_", 1));
    match file.section_by_name(name).or_else(older) {
        Some(section) => unpacked(&section),
        None => Ok(Vec::new()),
    }
}

fn unpacked<'data>(section: &impl ObjectSection<'data>) -> Result<Vec<u8>, Unreadable> {
    let name = || section.name().unwrap_or_default().to_owned();
    let damaged = || Unreadable::Damaged { section: name() };
    let range = section.compressed_file_range().map_err(|_| damaged())?;
    if range.format == CompressionFormat::None {
        return Ok(section.data().unwrap_or_default().to_vec());
    }
    let CompressedFileRange { compressed_size: packed, uncompressed_size: unpacked, .. } = range;
    if unpacked > MOST_BYTES || unpacked > ALWAYS_FINE.max(packed.saturating_mul(MOST_RATIO)) {
        return Err(Unreadable::Absurd { section: name(), packed, unpacked });
    }
    let data = section.compressed_data().map_err(|_| damaged())?.data;
    unpack(range.format, data, unpacked).ok_or_else(damaged)
}

/// Unpacks to exactly this many bytes; `None` where they become fewer or more.
fn unpack(format: CompressionFormat, packed: &[u8], len: u64) -> Option<Vec<u8>> {
    let len = usize::try_from(len).ok()?;
    let bytes = match format {
        CompressionFormat::Zlib => miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(packed, len).ok()?,
        CompressionFormat::Zstandard => {
            let mut bytes = Vec::new();
            // One more than there should be, to see that there are more.
            let limit = len as u64 + 1;
            StreamingDecoder::new(packed).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
            bytes
        }
        _ => return None,
    };
    (bytes.len() == len).then_some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    /// `hello`, 40 times, as zlib and zstd pack it.
    const ZLIB: [u8; 16] =
        [0x78, 0x9c, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xcf, 0x18, 0xfa, 0x04, 0x00, 0xa1, 0x70, 0x53, 0x21];
    const ZSTD: [u8; 25] = [
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x65, 0x00, 0x00, 0x28, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x01, 0x00, 0x40,
        0x50, 0x45, 0x0b, 0x19, 0xe7, 0xd8, 0xf9,
    ];

    #[test]
    fn both_forms_are_unpacked_to_their_length_and_no_other() {
        for (format, packed) in
            [(CompressionFormat::Zlib, ZLIB.as_slice()), (CompressionFormat::Zstandard, ZSTD.as_slice())]
        {
            assert_eq!(unpack(format, packed, 200), Some(b"hello".repeat(40)), "{format:?}");
            assert_eq!((unpack(format, packed, 199), unpack(format, packed, 201)), (None, None), "{format:?}");
            assert_eq!(unpack(format, &packed[..9], 200), None, "{format:?}");
        }
        assert_eq!(unpack(CompressionFormat::Unknown, &ZLIB, 200), None);
    }
}
