//! Cgroups (version 2) by path or id, and those of containers. A container has a folder of its own, which its runtime names
//! after it: the table says how.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tapline_compiler::program::Cgroup;

/// Directories looked at before giving up.
const MAX_DIRECTORIES: usize = 100_000;

/// Characters of an id that a user writes at least.
const MIN_ID: usize = 4;

/// Characters of a whole id.
const ID: usize = 64;

/// The cgroup namespace that the system starts with.
const INITIAL_NAMESPACE: &str = "cgroup:[4026531835]";

/// How runtimes name the folders of their containers: what stands before and behind the name or id.
const FORMS: &[(&str, &str)] = &[
    ("docker-", ".scope"),
    ("cri-containerd-", ".scope"),
    ("nerdctl-", ".scope"),
    ("crio-", ".scope"),
    ("libpod-", ".scope"),
    ("machine-", ".scope"),
    ("systemd-nspawn@", ".service"),
    ("lxc.payload.", ""),
];

/// Folders that helpers of runtimes run in: they belong to no container.
const HELPERS: &[&str] = &["libpod-conmon-", "crio-conmon-"];

/// Folders whose direct subfolders are containers by their bare names.
const PARENTS: &[&str] = &["docker", "lxc", "libpod_parent", "machine"];

/// Why a cgroup is not known.
#[derive(Debug)]
pub struct Unknown {
    /// What is wrong.
    pub reason: String,
    /// What to do; may be empty.
    pub help: String,
}

fn unknown(reason: impl Into<String>, help: impl Into<String>) -> Unknown {
    Unknown { reason: reason.into(), help: help.into() }
}

/// Where the hierarchy of version 2 is mounted.
fn root() -> Result<PathBuf, Unknown> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let found = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let dir = fields.nth(1)?;
        (fields.next() == Some("cgroup2")).then(|| PathBuf::from(dir))
    });
    found.ok_or_else(|| {
        let help = "mount it with `mount -t cgroup2 cgroup2 /sys/fs/cgroup`";
        unknown("there are no cgroups of version 2: the hierarchy is not mounted", help)
    })
}

/// A cgroup by the path of its folder, absolute or below the hierarchy, or by its id.
pub fn named(text: &str) -> Result<Cgroup, Unknown> {
    let root = root()?;
    if let Ok(id) = text.parse() {
        let Some(directory) = directory(&root, id) else {
            return Err(unknown(format!("there is no cgroup with the id {id}"), "its folder's inode number is its id"));
        };
        return Ok(cgroup(&root, &directory, id));
    }
    let inside = root.join(text.trim_start_matches('/'));
    let candidates = [Some(PathBuf::from(text)).filter(|path| path.starts_with(&root)), Some(inside)];
    for path in candidates.into_iter().flatten() {
        if let Ok(found) = fs::metadata(&path)
            && found.is_dir()
        {
            return Ok(cgroup(&root, &path, found.ino()));
        }
    }
    let help = format!("cgroups of version 2 are folders of {}", root.display());
    Err(unknown(format!("there is no cgroup `{text}`"), help))
}

/// The cgroup of a container, by the name or the beginning of the id that its runtime has put into the path.
pub fn of_container(text: &str) -> Result<Cgroup, Unknown> {
    let root = root()?;
    let mut found: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for path in paths_of_processes().map_err(|e| unknown(format!("cannot list processes: {e}"), ""))? {
        for (name, end) in containers(&path) {
            if name == text || (is_id(name) && is_id_prefix(text) && name.starts_with(text)) {
                found.extend(path.get(..end).map(str::to_owned));
            }
            seen.push(if is_id(name) { name.get(..12).unwrap_or(name).to_owned() } else { name.to_owned() });
        }
    }
    found.sort_unstable();
    found.dedup();
    // A container inside of another is part of it.
    let outer: Vec<&String> = found.iter().filter(|path| !found.iter().any(|other| is_below(path, other))).collect();
    match outer.as_slice() {
        [path] => {
            let directory = root.join(path.trim_start_matches('/'));
            match fs::metadata(&directory) {
                Ok(metadata) => Ok(cgroup(&root, &directory, metadata.ino())),
                Err(e) => Err(unknown(format!("the cgroup {} of the container: {e}", directory.display()), "")),
            }
        }
        [] => {
            seen.sort_unstable();
            seen.dedup();
            let help = if seen.is_empty() {
                "no container is running; a runtime's names that stand in no cgroup's path are not known: use the id"
                    .into()
            } else {
                format!("running containers are: {}", seen.join(", "))
            };
            Err(unknown(format!("there is no running container `{text}`"), help))
        }
        several => {
            let all: Vec<&str> = several.iter().map(|path| path.as_str()).collect();
            let help = "write more of its id, or give the path to --cgroup";
            Err(unknown(format!("several containers are called `{text}`: {}", all.join(", ")), help))
        }
    }
}

fn is_below(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

/// Paths of all processes below the root of the hierarchy, without duplicates.
fn paths_of_processes() -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // A process may have ended meanwhile.
        let Ok(text) = fs::read_to_string(entry.path().join("cgroup")) else { continue };
        paths.extend(text.lines().filter_map(|line| line.strip_prefix("0::")).map(str::to_owned));
    }
    paths.sort_unstable();
    paths.dedup();
    Ok(paths)
}

/// Containers that a path goes through: name or id, and where its folder's name ends.
fn containers(path: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    let (mut start, mut parent) = (0, "");
    for part in path.split('/') {
        let end = start + part.len();
        if let Some(name) = container(parent, part) {
            found.push((name, end));
        }
        (start, parent) = (end + 1, part);
    }
    found
}

/// Name or id of the container that a folder belongs to.
fn container<'a>(parent: &str, folder: &'a str) -> Option<&'a str> {
    if HELPERS.iter().any(|prefix| folder.starts_with(prefix)) {
        return None;
    }
    let by_form = FORMS.iter().find_map(|(before, behind)| folder.strip_prefix(before)?.strip_suffix(behind));
    let bare = || (is_id(folder) || PARENTS.contains(&parent)).then_some(folder);
    by_form.or_else(bare).filter(|name| !name.is_empty())
}

fn is_id(name: &str) -> bool {
    name.len() == ID && name.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_id_prefix(text: &str) -> bool {
    (MIN_ID..=ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// How deep a folder lies can be told where the mounted root is that of the kernel.
fn cgroup(root: &Path, directory: &Path, id: u64) -> Cgroup {
    let whole = fs::read_link("/proc/self/ns/cgroup").is_ok_and(|ns| ns == Path::new(INITIAL_NAMESPACE));
    let depth = directory.strip_prefix(root).ok().map(|path| path.components().count());
    let level = depth.filter(|_| whole).and_then(|depth| u32::try_from(depth).ok());
    Cgroup { id, level }
}

/// The folder with this inode number. Breadth first without recursion: the depth of the tree is somebody else's choice.
pub fn directory(root: &Path, id: u64) -> Option<PathBuf> {
    let mut queue = std::collections::VecDeque::from([root.to_path_buf()]);
    let mut seen = 0;
    while let Some(dir) = queue.pop_front() {
        seen += 1;
        if seen > MAX_DIRECTORIES {
            return None;
        }
        if fs::metadata(&dir).is_ok_and(|m| m.ino() == id) {
            return Some(dir);
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        queue.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn names(path: &str) -> Vec<(String, &str)> {
        containers(path).into_iter().map(|(name, end)| (name.to_owned(), &path[..end])).collect()
    }

    #[test]
    fn runtimes_have_their_forms() {
        for before in ["docker-", "cri-containerd-", "crio-", "libpod-"] {
            let folder = format!("/system.slice/{before}{LONG}.scope");
            assert_eq!(names(&format!("{folder}/init.scope")), [(LONG.to_owned(), folder.as_str())]);
        }
        let kubernetes = format!("/kubepods/burstable/pod1-2-3/{LONG}");
        assert_eq!(names(&kubernetes), [(LONG.to_owned(), kubernetes.as_str())]);
        assert_eq!(names("/lxc.payload.web/x"), [("web".to_owned(), "/lxc.payload.web")]);
        assert_eq!(names("/lxc/web"), [("web".to_owned(), "/lxc/web")]);
        assert_eq!(names("/machine.slice/machine-db.scope"), [("db".to_owned(), "/machine.slice/machine-db.scope")]);
    }

    #[test]
    fn what_is_no_container() {
        assert_eq!(names(&format!("/machine.slice/libpod-conmon-{LONG}.scope")), []);
        assert_eq!(names("/user.slice/user-1000.slice/session-1.scope"), []);
        assert_eq!(names("/"), []);
        assert_eq!(names("/docker"), []);
    }

    #[test]
    fn beginnings_of_ids() {
        assert!(is_id(LONG) && is_id_prefix("0123") && is_id_prefix(LONG));
        assert!(!is_id_prefix("012") && !is_id_prefix("web1"));
        assert!(is_below("/a/b", "/a") && !is_below("/ab", "/a") && !is_below("/a", "/a"));
    }
}
