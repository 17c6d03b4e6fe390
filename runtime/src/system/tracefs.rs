//! tracefs: where it is, the formats of events, and the lists of what can be traced. Paths are built from names of the
//! script, so that a name which is not one path component is refused.

use std::cell::OnceCell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tapline_compiler::target::TargetError;

/// Where tracefs is usually mounted, in order of preference.
const MOUNT_POINTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A mounted tracefs.
#[derive(Debug)]
pub struct Tracefs {
    root: PathBuf,
    events: OnceCell<Result<String, TargetError>>,
}

/// An error of the file system as the compiler wants it.
pub(super) fn target_error(path: &Path, error: &std::io::Error) -> TargetError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => TargetError::NotFound,
        ErrorKind::PermissionDenied => TargetError::Permission(format!("{} cannot be read", path.display())),
        ErrorKind::InvalidData => TargetError::Malformed(format!("{} is not text", path.display())),
        _ => TargetError::Io(format!("{}: {error}", path.display())),
    }
}

/// Reads a file of text.
pub(super) fn read_text(path: &Path) -> Result<String, TargetError> {
    std::fs::read_to_string(path).map_err(|error| target_error(path, &error))
}

/// A name that is one component of a path.
fn is_component(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

impl Tracefs {
    /// Finds the mounted file system; mounts it for this process alone when nobody has.
    pub fn find() -> Result<Self, TargetError> {
        let mut denied = false;
        for point in MOUNT_POINTS {
            match Path::new(point).join("events").metadata() {
                Ok(_) => return Ok(Self::at(point)),
                Err(error) => denied |= error.kind() == ErrorKind::PermissionDenied,
            }
        }
        if denied {
            return Err(TargetError::NoTracefs("reading it takes root or CAP_DAC_READ_SEARCH".into()));
        }
        match crate::sys::privilege::mount_tracefs_privately(c"/sys/kernel/tracing") {
            Ok(()) => Ok(Self::at(MOUNT_POINTS[0])),
            Err(error) => Err(TargetError::NoTracefs(format!(
                "it is not mounted, and mounting it failed ({error}); as root: mount -t tracefs tracefs /sys/kernel/tracing"
            ))),
        }
    }

    /// A tracefs at a given place.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), events: OnceCell::new() }
    }

    /// A file or directory inside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// Text of `events/<category>/<event>/format`.
    pub fn format(&self, category: &str, event: &str) -> Result<String, TargetError> {
        if !is_component(category) || !is_component(event) {
            return Err(TargetError::NotFound);
        }
        read_text(&self.root.join("events").join(category).join(event).join("format"))
    }

    /// Whether the event exists.
    pub fn has_event(&self, category: &str, event: &str) -> bool {
        is_component(category)
            && is_component(event)
            && self.root.join("events").join(category).join(event).join("format").exists()
    }

    /// `category:event`, one per line.
    pub fn events(&self) -> Result<&str, TargetError> {
        self.events.get_or_init(|| read_text(&self.path("available_events"))).as_deref().map_err(Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A directory that looks like tracefs; removed when dropped.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("tapline-tracefs-{name}-{}", std::process::id()));
            std::fs::create_dir_all(root.join("events/sched/sched_switch")).unwrap();
            std::fs::write(root.join("events/sched/sched_switch/format"), "name: sched_switch\n").unwrap();
            std::fs::write(root.join("available_events"), "sched:sched_switch\n").unwrap();
            std::fs::write(root.join("secret"), "x").unwrap();
            Self(root)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn formats_and_events_are_read() {
        let fake = Fake::new("read");
        let tracefs = Tracefs::at(&fake.0);
        assert_eq!(tracefs.format("sched", "sched_switch").unwrap(), "name: sched_switch\n");
        assert_eq!(tracefs.format("sched", "missing"), Err(TargetError::NotFound));
        assert!(tracefs.has_event("sched", "sched_switch") && !tracefs.has_event("irq", "sched_switch"));
        assert_eq!(tracefs.events().unwrap(), "sched:sched_switch\n");
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        let fake = Fake::new("leave");
        let tracefs = Tracefs::at(&fake.0);
        for (category, event) in [("..", ".."), ("sched", "../../secret"), ("", "sched"), ("sched/sched_switch", ".")] {
            assert_eq!(tracefs.format(category, event), Err(TargetError::NotFound), "{category}:{event}");
            assert!(!tracefs.has_event(category, event));
        }
    }
}
