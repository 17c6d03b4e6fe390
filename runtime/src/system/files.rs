//! The file system, as imports and includes of scripts see it.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tapline_compiler::load::{Content, Entry, Files};

use crate::errno::describe;

/// Imported files and headers may have so many bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The files of this system.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveFiles;

impl Files for LiveFiles {
    fn open(&self, path: &Path) -> Option<Entry> {
        let metadata = fs::metadata(path).ok()?;
        let identity = fs::canonicalize(path).ok()?;
        // Where the file really lies: a link elsewhere protects nothing.
        let folder = identity.parent().and_then(|folder| fs::metadata(folder).ok());
        let writable_by_all =
            is_open_to_all(&metadata) || (metadata.is_file() && folder.is_some_and(|m| is_open_to_all(&m)));
        Some(Entry { identity, writable_by_all, content: content(path, &metadata) })
    }
}

fn is_open_to_all(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o002 != 0
}

fn content(path: &Path, metadata: &Metadata) -> Content {
    if metadata.is_dir() {
        return match fs::read_dir(path) {
            Ok(entries) => {
                let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
                Content::Folder(names.collect())
            }
            Err(e) => Content::Unreadable(describe(&e)),
        };
    }
    if !metadata.is_file() {
        // A pipe or a device might never end.
        return Content::Unreadable("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)) {
        Err(e) => Content::Unreadable(describe(&e)),
        Ok(read) if read as u64 > MAX_BYTES => Content::Unreadable(format!("it has more than {} MiB", MAX_BYTES >> 20)),
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => Content::Text(text),
            Err(e) => {
                Content::Unreadable(format!("it is not valid UTF-8, from byte {} on", e.utf8_error().valid_up_to()))
            }
        },
    }
}
