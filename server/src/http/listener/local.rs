//! The socket for the command line on the same machine.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::complaints::About;
use super::{Connections, HttpService, Limits, Listen, Stream, run};
use crate::brief::briefly;

/// Who asks over the local socket; handlers find it as `ConnectInfo<LocalPeer>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalPeer {
    /// Its user.
    pub uid: u32,
    /// Its process, where the kernel says it.
    pub pid: Option<i32>,
}

/// A socket file that only root and our own user may use. Dropping it removes the file.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl LocalSocket {
    /// Makes the socket file with mode 0600. A file that an earlier server left is replaced, if it is a
    /// socket and nobody answers there. Two servers that start at the same moment have to be kept apart
    /// by the caller. Needs a tokio runtime.
    ///
    /// # Errors
    /// `AddrInUse` if a server answers there, `AlreadyExists` if the file is no socket; else as the
    /// system says, for example because the path is longer than some 100 bytes.
    pub fn bind(path: &Path) -> io::Result<Self> {
        make_room(path)?;
        // Under another name until its mode is right: there is no moment in which others may connect.
        let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
        name.push(".new");
        let new = path.with_file_name(name);
        remove_if_there(&new)?;
        let listener = UnixListener::bind(&new)?;
        let placed = fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&new, path))
            .and_then(|()| fs::symlink_metadata(path));
        match placed {
            Ok(made) => Ok(Self {
                listener,
                path: path.to_owned(),
                file: (made.dev(), made.ino()),
            }),
            Err(error) => {
                remove_if_there(&new)?;
                Err(error)
            }
        }
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        let file = self.file;
        briefly(LIMIT, move || {
            // Only ours: another server may have put its own there.
            let is_ours =
                fs::symlink_metadata(&path).is_ok_and(|found| (found.dev(), found.ino()) == file);
            if is_ours && let Err(error) = remove_if_there(&path) {
                tracing::warn!("server: removing {}: {error}", path.display());
            }
        });
    }
}

/// How long the disk may take to remove the file; the next server replaces it.
const LIMIT: Duration = Duration::from_millis(500);

fn make_room(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let text = format!("{} exists and is no socket", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => remove_if_there(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            let text = format!("another server answers at {}", path.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// As [`serve`](super::serve), for this machine: only root and our own user are let in, and
/// [`Limits::connections_per_address`] does not count.
///
/// # Errors
/// None at present.
pub async fn serve_local<S: HttpService>(
    socket: LocalSocket,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    run(socket, service, &Connections::new(limits), shutdown).await;
    Ok(())
}

impl Stream for UnixStream {}

impl Listen for LocalSocket {
    type Stream = UnixStream;
    type Peer = LocalPeer;

    async fn accept(&self) -> io::Result<(UnixStream, LocalPeer)> {
        let (stream, _) = self.listener.accept().await?;
        let credentials = stream.peer_cred()?;
        let peer = LocalPeer {
            uid: credentials.uid(),
            pid: credentials.pid(),
        };
        Ok((stream, peer))
    }

    fn address(_: &LocalPeer) -> Option<IpAddr> {
        None
    }

    fn prepare(&self, _: &UnixStream, peer: &LocalPeer, _: &Limits) -> Result<(), About> {
        if may_connect(peer.uid, nix::unistd::geteuid().as_raw()) {
            Ok(())
        } else {
            Err(About::Stranger(peer.uid))
        }
    }
}

fn may_connect(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_our_own_user_may_connect() {
        assert!(may_connect(0, 990));
        assert!(may_connect(990, 990));
        assert!(!may_connect(1000, 990));
        assert!(!may_connect(1000, 0));
    }

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = LocalSocket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_socket_in_use_and_other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let socket = LocalSocket::bind(&path).unwrap();
        let error = LocalSocket::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        fs::write(&path, "precious").unwrap();
        let error = LocalSocket::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn the_file_of_another_server_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let old = LocalSocket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _new = LocalSocket::bind(&path).unwrap();
        drop(old);
        assert!(path.exists());
    }
}
