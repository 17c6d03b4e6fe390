//! Paths of control groups by their id, which is the inode number of the group's directory.

use std::fs;
use std::path::Path;

use tapline_compiler::target::Glob;

use crate::system::cgroups;

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
        if let Some(path) = cgroups::directory(root, id).as_deref().and_then(|dir| dir.strip_prefix(root).ok()) {
            found.push(format!("{name}:/{}", path.display()));
        }
    }
    found.join(",")
}
