//! Tells a service manager how far the session is, as `sd_notify(3)` describes: a datagram to the socket that `$NOTIFY_SOCKET`
//! names. Whoever does not listen is no reason to stop.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Probes are attached.
pub(super) const READY: &str = "READY=1\nSTATUS=Processing events";

/// Probes are being detached.
pub(super) const STOPPING: &str = "STOPPING=1\nSTATUS=Detaching";

/// Sends a state, if somebody waits for it.
pub(super) fn tell(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        let _ = send(&socket, state);
    }
}

/// `@name` is an abstract socket, everything else a path.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let own = UnixDatagram::unbound()?;
    // A manager that does not read must not hold the session up.
    own.set_nonblocking(true)?;
    own.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn received(listener: &UnixDatagram) -> String {
        let mut bytes = [0; 128];
        let len = listener.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    #[test]
    fn a_path_and_an_abstract_name() {
        let path = std::env::temp_dir().join(format!("tapline-service-{}", std::process::id()));
        let listener = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), READY).unwrap();
        assert_eq!(received(&listener), "READY=1\nSTATUS=Processing events");
        std::fs::remove_file(&path).unwrap();

        let name = format!("tapline-service-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), STOPPING).unwrap();
        assert_eq!(received(&listener), "STOPPING=1\nSTATUS=Detaching");
    }

    #[test]
    fn nobody_there_is_an_error_that_the_session_ignores() {
        assert!(send(OsStr::new("/nowhere/at/all"), READY).is_err());
        assert!(send(OsStr::new(""), READY).is_err());
    }
}
