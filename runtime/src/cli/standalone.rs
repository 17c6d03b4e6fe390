//! Standalone programs (`--aot`): this program with a script behind it, for machines on which nothing is installed.
//!
//! The script is compiled where it runs, for that kernel: compiling takes less than reading compiled code would save. So the
//! program carries texts: the command line that it was made with, the script, and every file that the script imports or
//! includes. They follow the ELF image as JSON, and behind them stand their length and a magic number.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tapline_compiler::load::{Entry, Files};

use super::args::Words;

/// The end of a program that carries a script.
const MAGIC: &[u8; 8] = b"TAPLINE\x01";
/// The length before it, and itself.
const TRAILER: u64 = 16;
/// The file of the program that runs.
const OURSELVES: &str = "/proc/self/exe";

/// What a standalone program carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The command line that it was made with.
    pub words: Words,
    /// The script's name in messages.
    pub name: String,
    /// The script.
    pub text: String,
    /// What lay where the script looked.
    files: BTreeMap<PathBuf, Option<Entry>>,
}

/// The files that were carried along; no others.
impl Files for Carried {
    fn open(&self, path: &Path) -> Option<Entry> {
        self.files.get(path)?.clone()
    }
}

/// Files that keeps what was asked for.
pub struct Recorder<'a> {
    files: &'a dyn Files,
    seen: RefCell<BTreeMap<PathBuf, Option<Entry>>>,
}

impl<'a> Recorder<'a> {
    /// Asks `files`.
    pub fn new(files: &'a dyn Files) -> Self {
        Self { files, seen: RefCell::default() }
    }

    /// A script with what it has asked for.
    pub fn carry(self, words: Words, name: String, text: String) -> Carried {
        Carried { words, name, text, files: self.seen.into_inner() }
    }
}

impl Files for Recorder<'_> {
    fn open(&self, path: &Path) -> Option<Entry> {
        let entry = self.files.open(path);
        self.seen.borrow_mut().insert(path.to_owned(), entry.clone());
        entry
    }
}

/// Where the image of a program ends, and what it carries. `None` for a program that carries nothing.
fn split(file: &mut (impl Read + Seek)) -> io::Result<(u64, Option<Vec<u8>>)> {
    let len = file.seek(SeekFrom::End(0))?;
    let Some(trailer) = len.checked_sub(TRAILER) else { return Ok((len, None)) };
    file.seek(SeekFrom::Start(trailer))?;
    let (mut size, mut magic) = ([0; 8], [0; 8]);
    file.read_exact(&mut size)?;
    file.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Ok((len, None));
    }
    let size = u64::from_le_bytes(size);
    let start = trailer.checked_sub(size).ok_or(io::ErrorKind::InvalidData)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    Ok((start, Some(bytes)))
}

/// What the program that runs carries. Where its file cannot be read, it carries nothing.
pub fn carried() -> io::Result<Option<Carried>> {
    let Ok(mut file) = File::open(OURSELVES) else { return Ok(None) };
    match split(&mut file)? {
        (_, Some(bytes)) => Ok(Some(serde_json::from_slice(&bytes)?)),
        (_, None) => Ok(None),
    }
}

/// Writes a program that carries this, from the image of the one that runs.
pub fn write(path: &Path, carried: &Carried) -> io::Result<()> {
    let mut ourselves = File::open(OURSELVES)?;
    let (image, _) = split(&mut ourselves)?;
    ourselves.seek(SeekFrom::Start(0))?;
    let bytes = serde_json::to_vec(carried)?;
    // A file of that name may be running: it keeps what it has.
    if fs::symlink_metadata(path).is_ok_and(|old| old.is_file()) {
        fs::remove_file(path)?;
    }
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(path)?;
    io::copy(&mut ourselves.take(image), &mut out)?;
    out.write_all(&bytes)?;
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(MAGIC)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;

    use tapline_compiler::load::Content;

    use super::*;

    fn program(image: &[u8], carried: &[u8], len: u64) -> Cursor<Vec<u8>> {
        Cursor::new([image, carried, &len.to_le_bytes(), MAGIC].concat())
    }

    #[test]
    fn what_follows_the_image_is_found() {
        assert_eq!(split(&mut program(b"image", b"texts", 5)).unwrap(), (5, Some(b"texts".to_vec())));
        assert_eq!(split(&mut program(b"", b"", 0)).unwrap(), (0, Some(Vec::new())));
    }

    #[test]
    fn most_programs_carry_nothing() {
        for bytes in [b"".as_slice(), b"TAPLINE\x01", b"an image that is longer than the trailer"] {
            assert_eq!(split(&mut Cursor::new(bytes)).unwrap(), (bytes.len() as u64, None));
        }
    }

    #[test]
    fn a_length_beyond_the_file_is_an_error() {
        assert!(split(&mut program(b"image", b"texts", 11)).is_err());
        assert!(split(&mut program(b"image", b"texts", u64::MAX)).is_err());
    }

    #[test]
    fn files_are_as_they_were() {
        struct One;
        impl Files for One {
            fn open(&self, path: &Path) -> Option<Entry> {
                (path == Path::new("a.h")).then(|| Entry {
                    identity: "/x/a.h".into(),
                    writable_by_all: true,
                    content: Content::Text("int a;".into()),
                })
            }
        }
        let recorder = Recorder::new(&One);
        assert!(recorder.open(Path::new("a.h")).is_some());
        assert!(recorder.open(Path::new("b.h")).is_none());
        let words = Words { ours: vec!["-q".into()], ..Words::default() };
        let carried = recorder.carry(words.clone(), "s.bt".into(), "begin { }".into());
        let carried: Carried = serde_json::from_slice(&serde_json::to_vec(&carried).unwrap()).unwrap();
        let entry = carried.open(Path::new("a.h")).unwrap();
        assert_eq!(entry.identity, Path::new("/x/a.h"));
        assert!(entry.writable_by_all && matches!(entry.content, Content::Text(text) if text == "int a;"));
        assert!(carried.open(Path::new("b.h")).is_none() && carried.open(Path::new("c.h")).is_none());
        assert_eq!((carried.words, carried.name, carried.text), (words, "s.bt".into(), "begin { }".into()));
    }
}
