//! Embeds the tools of the script library: a table of their names and texts.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let folder = manifest.join("../stdlib/tools");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut scripts: Vec<PathBuf> = fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "bt"))
        .collect();
    scripts.sort();
    let mut table = String::from("&[\n");
    for script in scripts {
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = script.canonicalize()?;
        let _ = writeln!(table, "    Tool {{ name: {name:?}, text: include_str!({:?}) }},", path.display().to_string());
    }
    table.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("tools.rs"), table)
}
