//! A file that may be ELF: one of the file system, or one that lies uncompressed in a ZIP archive, from where loaders map it
//! as it is (`app.apk!/lib/x86_64/libapp.so`). The archive can be hostile: it belongs to whoever runs what is in it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use tapline_compiler::target::IN_ARCHIVE;

/// Bytes of an archive's directory that are read.
const LONGEST_DIRECTORY: u64 = 64 << 20;

/// The record at the archive's end, without the comment behind it.
const END: usize = 22;
const END_MAGIC: u64 = 0x0605_4b50;
/// An entry of the directory, without name, extra field and comment.
const ENTRY: usize = 46;
const ENTRY_MAGIC: u64 = 0x0201_4b50;
/// What stands before the data of a file, without name and extra field.
const LOCAL: usize = 30;
const LOCAL_MAGIC: u64 = 0x0403_4b50;

/// An open file, or a piece of one.
#[derive(Debug)]
pub struct Image {
    file: File,
    window: Option<Window>,
}

/// Bytes of a file.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: u64,
    len: u64,
    /// The next byte to be read, from the start.
    at: u64,
}

/// The archive of a path into one, and the name in it. A folder may be called as if it were one.
pub fn split(path: &str) -> Option<(&str, &str)> {
    path.split_once(IN_ARCHIVE).filter(|_| !Path::new(path).exists())
}

/// The path that the kernel knows: that of the archive where the path leads into one.
pub fn container(path: &str) -> &str {
    split(path).map_or(path, |(archive, _)| archive)
}

/// Whether a file is called as archives are from which code is mapped.
pub fn is_archive(path: &str) -> bool {
    [".apk", ".zip", ".jar"].iter().any(|end| path.ends_with(end))
}

impl Image {
    /// Opens a file for reading; a pipe in its place does not hold us up.
    pub fn open(path: &Path) -> io::Result<Self> {
        let whole = |path: &Path| OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let inside = path.to_str().and_then(split);
        match inside {
            Some((archive, name)) => {
                let file = whole(archive.as_ref())?;
                let start = entries(&file)?.into_iter().find(|entry| entry.name == name.as_bytes());
                let entry = start
                    .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such file in the archive"))?;
                let window = entry.window(&file)?;
                Ok(Self { file, window: Some(window) })
            }
            None => Ok(Self { file: whole(path)?, window: None }),
        }
    }

    /// The file in an archive that a byte of the archive belongs to; all of what is no archive.
    #[must_use]
    pub fn around(self, offset: u64) -> Self {
        let mut magic = [0; 4];
        if self.window.is_some()
            || self.file.read_exact_at(&mut magic, 0).is_err()
            || number(&magic, 0, 4) != Some(LOCAL_MAGIC)
        {
            return self;
        }
        let holds = |window: &Window| offset.checked_sub(window.start).is_some_and(|at| at < window.len);
        let windows = entries(&self.file).unwrap_or_default().into_iter();
        let window = windows.filter_map(|entry| entry.window(&self.file).ok()).find(holds);
        Self { window, ..self }
    }

    /// The byte of the file that is the first of this one.
    pub fn start(&self) -> u64 {
        self.window.map_or(0, |window| window.start)
    }

    /// That of the file, or of the archive.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// The same file once more; both read from one place.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, window: self.window })
    }
}

impl From<File> for Image {
    fn from(file: File) -> Self {
        Self { file, window: None }
    }
}

impl Read for Image {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(window) = &mut self.window else { return self.file.read(buffer) };
        let left = usize::try_from(window.len.saturating_sub(window.at)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let place = window.start.saturating_add(window.at);
        let read = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), place)?;
        window.at += read as u64;
        Ok(read)
    }
}

impl Seek for Image {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let Some(window) = &mut self.window else { return self.file.seek(to) };
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => window.len.checked_add_signed(by),
            SeekFrom::Current(by) => window.at.checked_add_signed(by),
        };
        window.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(window.at)
    }
}

/// A file of an archive, as its directory describes it.
struct Entry {
    name: Vec<u8>,
    /// Neither packed nor encrypted.
    stored: bool,
    len: u64,
    /// Where what stands before its data begins.
    header: u64,
}

impl Entry {
    /// Its data.
    fn window(&self, archive: &File) -> io::Result<Window> {
        if !self.stored {
            return Err(io::Error::other("it is compressed in the archive, and nothing can be mapped from there"));
        }
        let mut header = [0; LOCAL];
        archive.read_exact_at(&mut header, self.header)?;
        if number(&header, 0, 4) != Some(LOCAL_MAGIC) {
            return Err(damaged());
        }
        let behind = number(&header, 26, 2).zip(number(&header, 28, 2)).map(|(name, extra)| name + extra);
        let start = behind.and_then(|behind| self.header.checked_add(LOCAL as u64 + behind)).ok_or_else(damaged)?;
        Ok(Window { start, len: self.len, at: 0 })
    }
}

fn damaged() -> io::Error {
    io::Error::other("it is no ZIP archive, or a damaged one")
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The files of an archive, without those of archives beyond 4 GiB.
fn entries(archive: &File) -> io::Result<Vec<Entry>> {
    /// A comment of two bytes' length may stand behind the last record.
    const LONGEST_END: u64 = END as u64 + u16::MAX as u64;
    let metadata = archive.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("the archive is not a regular file"));
    }
    let tail = metadata.len().min(LONGEST_END);
    let mut end = vec![0; tail as usize];
    archive.read_exact_at(&mut end, metadata.len() - tail)?;
    let is_end = |at: &usize| number(&end, *at, 4) == Some(END_MAGIC);
    let at = (0..=end.len().saturating_sub(END)).rev().find(is_end).ok_or_else(damaged)?;
    let (len, start) = number(&end, at + 12, 4).zip(number(&end, at + 16, 4)).ok_or_else(damaged)?;
    if len > LONGEST_DIRECTORY || start.saturating_add(len) > metadata.len() {
        return Err(damaged());
    }
    let mut directory = vec![0; len as usize];
    archive.read_exact_at(&mut directory, start)?;
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((entry, next)) = entry(&directory, at) {
        found.push(entry);
        at = next;
    }
    Ok(found)
}

/// The entry at a place of the directory, and the place of the next.
fn entry(directory: &[u8], at: usize) -> Option<(Entry, usize)> {
    const ENCRYPTED: u64 = 1;
    let bytes = directory.get(at..)?;
    if number(bytes, 0, 4)? != ENTRY_MAGIC {
        return None;
    }
    let [flags, method] = [number(bytes, 8, 2)?, number(bytes, 10, 2)?];
    let [packed, len, header] = [number(bytes, 20, 4)?, number(bytes, 24, 4)?, number(bytes, 42, 4)?];
    let [name, extra, comment] = [28, 30, 32].map(|at| number(bytes, at, 2).unwrap_or(0) as usize);
    let stored = method == 0 && flags & ENCRYPTED == 0 && packed == len;
    let entry = Entry { name: bytes.get(ENTRY..ENTRY + name)?.to_vec(), stored, len, header };
    Some((entry, at + ENTRY + name + extra + comment))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// An archive of two files, the second compressed.
    fn archive() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut directory = Vec::new();
        for (name, data, method) in [("a.so", "first file", 0u16), ("b.so", "second", 8)] {
            let start = bytes.len() as u32;
            let (len, name_len) = (data.len() as u32, name.len() as u16);
            let mut header = [0u8; LOCAL];
            header[..4].copy_from_slice(&LOCAL_MAGIC.to_le_bytes()[..4]);
            header[26..28].copy_from_slice(&name_len.to_le_bytes());
            bytes.extend([header.as_slice(), name.as_bytes(), data.as_bytes()].concat());
            let mut entry = [0u8; ENTRY];
            entry[..4].copy_from_slice(&ENTRY_MAGIC.to_le_bytes()[..4]);
            entry[10..12].copy_from_slice(&method.to_le_bytes());
            entry[20..24].copy_from_slice(&len.to_le_bytes());
            entry[24..28].copy_from_slice(&len.to_le_bytes());
            entry[28..30].copy_from_slice(&name_len.to_le_bytes());
            entry[42..46].copy_from_slice(&start.to_le_bytes());
            directory.extend([entry.as_slice(), name.as_bytes()].concat());
        }
        let mut end = [0u8; END];
        end[..4].copy_from_slice(&END_MAGIC.to_le_bytes()[..4]);
        end[12..16].copy_from_slice(&(directory.len() as u32).to_le_bytes());
        end[16..20].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        [bytes, directory, end.to_vec(), b"a comment".to_vec()].concat()
    }

    #[test]
    fn files_in_archives_are_read_from_where_they_lie() {
        let path = std::env::temp_dir().join(format!("tapline-image-{}.zip", std::process::id()));
        std::fs::write(&path, archive()).unwrap();
        let inside = |name: &str| Image::open(format!("{}!/{name}", path.display()).as_ref());
        let mut image = inside("a.so").unwrap();
        assert_eq!(image.start(), 34);
        assert_eq!(image.seek(SeekFrom::End(-4)).unwrap(), 6);
        let mut text = String::new();
        image.read_to_string(&mut text).unwrap();
        assert_eq!(text, "file");
        assert_eq!(inside("c.so").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(inside("b.so").unwrap_err().to_string().contains("compressed"));
        let around = |offset| Image::open(&path).unwrap().around(offset).start();
        assert_eq!([around(33), around(34), around(43), around(44)], [0, 34, 34, 0]);
        std::fs::write(&path, b"PK\x03\x04 and nothing else").unwrap();
        assert!(inside("a.so").unwrap_err().to_string().contains("no ZIP archive"));
        std::fs::remove_file(&path).unwrap();
    }
}
