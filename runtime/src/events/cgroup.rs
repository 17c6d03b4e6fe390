//! Paths of control groups by their id, which is the inode number of the group's directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tapline_compiler::target::Glob;

/// Directories looked at before giving up.
const MAX_DIRECTORIES: usize = 100_000;

/// The path of the group with this id, as `hierarchy:/path`, in the mounted hierarchies whose name matches the glob
/// `filter` (empty: all). Several matches are joined with a comma; none is the empty string.
pub fn path_of(id: u64, filter: &str) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(_), Some(dir), Some(kind)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if kind != "cgroup2" && kind != "cgroup" {
            continue;
        }
        let root = Path::new(dir);
        let name = match kind {
            "cgroup2" => "unified",
            _ => root.file_name().and_then(|n| n.to_str()).unwrap_or(""),
        };
        if !filter.is_empty() && !Glob::new(filter).matches(name) {
            continue;
        }
        if let Some(path) = search(root, id) {
            found.push(format!("{name}:{path}"));
        }
    }
    found.join(",")
}

/// Breadth first without recursion: the depth of the tree is somebody else's choice.
fn search(root: &Path, id: u64) -> Option<String> {
    let mut queue = std::collections::VecDeque::from([root.to_path_buf()]);
    let mut seen = 0;
    while let Some(dir) = queue.pop_front() {
        seen += 1;
        if seen > MAX_DIRECTORIES {
            return None;
        }
        if fs::metadata(&dir).is_ok_and(|m| m.ino() == id) {
            let path = dir.strip_prefix(root).ok()?.to_string_lossy().into_owned();
            return Some(format!("/{path}"));
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        queue.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
    None
}
