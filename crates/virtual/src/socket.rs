//! Unix sockets that only their owner can connect to, and that never wait.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};

/// Connections that wait while there is one.
const BACKLOG: i32 = 1;

/// Listens at a path, for one connection after the other. A socket that is there already is replaced, unless somebody listens at it.
///
/// # Errors
/// No socket can have that path, somebody listens there ([`ErrorKind::AddrInUse`]), or it cannot be made.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    listen_at(path, &address(path)?)
}

pub(crate) fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(path).map_err(Into::into)
}

/// A socket that neither waits nor is inherited.
fn socket() -> Result<OwnedFd, Errno> {
    net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
}

/// Connects, or fails at once: also where too many wait already.
pub(crate) fn connect(address: &SocketAddrUnix) -> io::Result<UnixStream> {
    let socket = socket()?;
    net::connect(&socket, address)?;
    Ok(socket.into())
}

pub(crate) fn listen_at(path: &Path, address: &SocketAddrUnix) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
        match connect(address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => return Err(ErrorKind::AddrInUse.into()),
        }
    }
    let socket = socket()?;
    net::bind(&socket, address)?;
    // Nobody can connect before it listens.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}
