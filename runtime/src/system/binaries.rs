//! User programs and libraries by the names that scripts give them, and their functions.

use std::cell::LazyCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use object::{Object, ObjectSymbol, ReadCache};
use tapline_compiler::number;
use tapline_compiler::probes::has_wildcard;
use tapline_compiler::target::{Glob, LANGUAGES, UserFunction, UserSymbol};

use super::loader_cache;
use crate::debug_info::SourcePlace;
use crate::symbols::demangle;
use crate::symbols::elf::{self, ElfSymbols, Segments};
use crate::symbols::image::{self, Image};

/// Functions that match a glob and lie in the file, sorted by name; of several symbols of one name the first.
pub fn functions(symbols: &ElfSymbols, pattern: &str) -> Vec<UserFunction> {
    if let Some(address) = number::parse(pattern) {
        let place = |offset| UserFunction { name: pattern.to_owned(), offset, size: 0 };
        return symbols.segments.offset_of(address).map(place).into_iter().collect();
    }
    let written = LANGUAGES.into_iter().find_map(|language| Some((language, pattern.strip_prefix(language)?)));
    let (language, wanted) = written.unwrap_or(("", pattern));
    let glob = Glob::new(wanted);
    let matches = |symbol: &str| {
        let name = match language {
            // Names of Go have brackets of their own: `main.Map[...]`.
            "" => return symbol == wanted || glob.matches(symbol),
            "rust:" => demangle::rust(symbol),
            _ => demangle::cpp(symbol),
        };
        // Functions of C keep their names.
        let name = name.as_deref().unwrap_or(symbol);
        let without_parameters = name.split('(').next().unwrap_or_default();
        // The newer mangling of Rust has `<crate::Type>::method`.
        let plain = name.replacen(['<', '>'], "", 2);
        glob.matches(name)
            || (!wanted.contains('(') && glob.matches(without_parameters))
            || (name.starts_with('<') && !name.contains(" as ") && glob.matches(&plain))
    };
    let mut found: Vec<UserFunction> = symbols
        .iter()
        .filter(|symbol| matches(symbol.name))
        .filter_map(|symbol| {
            let offset = symbols.segments.offset_of(symbol.address)?;
            Some(UserFunction { name: symbol.name.to_owned(), offset, size: symbol.size })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|later, first| later.name == first.name);
    found
}

/// The first place of each function that has one, by its address as name.
pub fn places(symbols: &ElfSymbols, places: &[SourcePlace]) -> Vec<UserFunction> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for SourcePlace { address, .. } in places {
        let function = symbols.function_at(*address).map_or(*address, |symbol| symbol.address);
        if seen.insert(function)
            && let Some(offset) = symbols.segments.offset_of(*address)
        {
            found.push(UserFunction { name: address.to_string(), offset, size: 0 });
        }
    }
    found
}

/// A symbol of any kind, seen from the code at an offset of the file.
pub fn symbol(path: &Path, name: &str, offset: u64) -> Option<UserSymbol> {
    let image = Image::open(path).ok()?;
    let start = image.start();
    let cache = ReadCache::new(image);
    let file = object::File::parse(&cache).ok()?;
    let found = file
        .symbols()
        .chain(file.dynamic_symbols())
        .find(|symbol| !symbol.is_undefined() && symbol.name_bytes() == Ok(name.as_bytes()))?;
    let code = Segments::of(&file, start).address_of(offset)?;
    Some(UserSymbol { distance: found.address().wrapping_sub(code).cast_signed(), size: found.size() })
}

/// A binary by path, by its name in `PATH`, or a library by its name (`libc`, `libc.so.6`).
pub fn find(name: &str) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    if name.contains('/') {
        let path = PathBuf::from(name);
        let archive = || image::split(name).is_some_and(|(archive, _)| Path::new(archive).is_file());
        return (path.is_file() || archive()).then_some(path);
    }
    let directories: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let binary = directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
    binary.or_else(|| find_library(name))
}

/// The regular files whose paths match one with wildcards, sorted. A wildcard does not match the `/` between folders.
pub fn matching(pattern: &str) -> Vec<PathBuf> {
    /// Paths of one part, at most.
    const MOST: usize = 1 << 16;
    let absolute = std::path::absolute(pattern).unwrap_or_else(|_| PathBuf::from(pattern));
    let mut found = vec![PathBuf::new()];
    for part in absolute.components() {
        let name = part.as_os_str().to_string_lossy();
        if !has_wildcard(&name) {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        let glob = Glob::new(&name);
        let entries = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
        let names = found.into_iter().flat_map(entries).map(|entry| entry.path());
        let matches = |path: &PathBuf| path.file_name().is_some_and(|name| glob.matches(&name.to_string_lossy()));
        found = names.filter(matches).take(MOST).collect();
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

/// Paths of the files that a process has mapped as code, sorted; through its root folder where that is another than ours.
pub fn mapped(pid: u32) -> Vec<String> {
    mapped_by([pid])
}

/// The same of all processes.
pub fn mapped_by_any() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    mapped_by(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Each file comes once, whatever the processes call it.
fn mapped_by(pids: impl IntoIterator<Item = u32>) -> Vec<String> {
    let mounts = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/mnt")).ok();
    let own = mounts("self");
    let mut files = HashMap::new();
    for pid in pids {
        let text = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let elsewhere = LazyCell::new(|| mounts(&pid.to_string()) != own);
        for line in text.lines() {
            // `from-to flags offset device inode path`
            let words: Vec<&str> = line.split_whitespace().take(5).collect();
            let ([_, flags, _, device, inode], Some(start)) = (words.as_slice(), line.find('/')) else { continue };
            let path = line.get(start..).unwrap_or_default();
            if flags.contains('x') && !path.ends_with(" (deleted)") {
                let name = || if *elsewhere { format!("/proc/{pid}/root{path}") } else { path.to_owned() };
                files.entry(format!("{device} {inode}")).or_insert_with(name);
            }
        }
    }
    let mut paths: Vec<String> = files.into_values().collect();
    paths.sort_unstable();
    paths
}

/// A library where the loader finds it: by its cache, else in the directories that it looks into anyhow. Of several versions the last.
fn find_library(name: &str) -> Option<PathBuf> {
    let cached = loader_cache::find(name);
    cached.into_iter().find(|path| path.is_file()).or_else(|| find_in_directories(name))
}

/// A library in the loader's usual directories. Of several versions the last by name.
fn find_in_directories(name: &str) -> Option<PathBuf> {
    const DIRECTORIES: [&str; 8] = [
        "/lib64",
        "/usr/lib64",
        "/lib/x86_64-linux-gnu",
        "/usr/lib/x86_64-linux-gnu",
        "/lib/aarch64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/lib",
        "/usr/lib",
    ];
    let prefix = if name.contains(".so") { name.to_owned() } else { format!("{name}.so") };
    // Without links to other directories, so that a probe's name does not depend on the way to the file.
    DIRECTORIES.iter().filter_map(|directory| std::fs::canonicalize(directory).ok()).find_map(|directory| {
        let exact = directory.join(&prefix);
        // A file `libc.so` is a text for the linker; the loader wants the version.
        let mut found: Vec<PathBuf> = std::fs::read_dir(&directory)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
                file.strip_prefix(&prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
            .filter(|path| elf::is_elf(path))
            .collect();
        if found.contains(&exact) {
            return Some(exact);
        }
        found.sort();
        found.pop()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::path::Path;

    use super::*;

    #[test]
    fn binaries_are_found_by_path_and_by_name() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(find(own.to_str().unwrap()).as_deref(), Some(own.as_path()));
        assert_eq!(find("/nonexistent/program"), None);
        assert_eq!(find(""), None);
        assert!(find("sh").unwrap().ends_with("sh"));
        assert!(find("libc").unwrap().to_str().unwrap().contains("libc.so"));
    }

    #[test]
    fn functions_have_offsets_in_the_file() {
        let symbols = ElfSymbols::load(Path::new("/proc/self/exe")).unwrap();
        let main = functions(&symbols, "main");
        assert_eq!(main.len(), 1);
        let bytes = std::fs::metadata("/proc/self/exe").unwrap().len();
        assert!(main[0].offset > 0 && main[0].offset < bytes);
        assert_eq!(functions(&symbols, "no_such_function_*"), []);
    }
}
