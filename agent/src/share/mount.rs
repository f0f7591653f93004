//! Mounts an NFS export read-only, as FOG's own servers hand out the small files of an image.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use fog::args::Export;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A mounted export; unmounted when dropped.
#[derive(Debug)]
pub(super) struct Mounted {
    pub(super) path: PathBuf,
}

/// Why an export is not mounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("the name {host} has no IPv4 address: {cause}; check the name server of this network")]
    Name { host: String, cause: String },
    #[error("the mount point {}: {source}", path.display())]
    Point {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("mounting {export} by NFS: {} ({errno})", advice(*.errno))]
    Refused { export: String, errno: Errno },
}

impl MountError {
    /// Whether it may be there later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Name { .. } => true,
            Self::Point { .. } => false,
            Self::Refused { errno, .. } => matches!(
                errno,
                Errno::ECONNREFUSED
                    | Errno::ECONNRESET
                    | Errno::ETIMEDOUT
                    | Errno::EHOSTUNREACH
                    | Errno::ENETUNREACH
                    | Errno::EIO
                    | Errno::EAGAIN
            ),
        }
    }
}

/// Mounts `export` at `point`, which is made. Takes as long as the kernel waits for the server.
///
/// # Errors
/// Why that is not possible.
pub(super) fn mount_read_only(export: &Export, point: &Path) -> Result<Mounted, MountError> {
    let address = address_of(&export.host)?;
    std::fs::create_dir_all(point).map_err(|source| MountError::Point {
        path: point.to_owned(),
        source,
    })?;
    let refused = |errno| MountError::Refused {
        export: export.to_string(),
        errno,
    };
    let options = options(address);
    let options = CString::new(options).map_err(|_| refused(Errno::EINVAL))?;
    mount(
        Some(export.to_string().as_str()),
        point,
        Some("nfs"),
        MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOEXEC
            | MsFlags::MS_NOATIME,
        Some(options.as_c_str()),
    )
    .map_err(refused)?;
    Ok(Mounted {
        path: point.to_owned(),
    })
}

/// Version 3 explicitly: FOG exports with `fsid=0`, so the same path is another one in version 4. Without locks,
/// as there is no daemon for them, and soft: a server that is gone shall be an error, not a hang.
fn options(address: Ipv4Addr) -> String {
    format!(
        "vers=3,proto=tcp,mountproto=tcp,nolock,soft,timeo=100,retrans=3,rsize=32768,addr={address}"
    )
}

fn address_of(host: &str) -> Result<Ipv4Addr, MountError> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let name = |cause: String| MountError::Name {
        host: host.to_owned(),
        cause,
    };
    let found = (host, NFS_PORT)
        .to_socket_addrs()
        .map_err(|error| name(error.to_string()))?;
    found
        .map(|address| address.ip().to_canonical())
        .find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .ok_or_else(|| name("it has only IPv6 addresses".to_owned()))
}

fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::ENODEV => "the kernel of this boot has no NFS client (module nfsv3)",
        Errno::EACCES | Errno::EPERM => {
            "the server does not export this directory to this machine; look into /etc/exports there"
        }
        Errno::ENOENT | Errno::ENOTDIR => "the server has no such directory",
        Errno::ECONNREFUSED | Errno::ECONNRESET => {
            "nothing answers NFS version 3 there; check that the NFS server and rpcbind run"
        }
        Errno::ETIMEDOUT | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EIO => {
            "the server does not answer; check that it runs, and that no firewall drops TCP ports 111 and 2049 and \
             the one of mountd"
        }
        Errno::EPROTONOSUPPORT => "the server does not offer NFS version 3 over TCP",
        _ => "the kernel refuses",
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // At once, whoever still uses it, and also if the server is gone.
        umount2(&self.path, MntFlags::MNT_DETACH).unwrap_or_default();
    }
}

const NFS_PORT: u16 = 2049;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_for_version_3_and_never_waits_for_ever() {
        let options = options(Ipv4Addr::new(10, 0, 0, 5));
        for wanted in ["vers=3", "proto=tcp", "nolock", "soft", "addr=10.0.0.5"] {
            assert!(
                options.split(',').any(|option| option == wanted),
                "{options}"
            );
        }
    }

    #[test]
    fn an_address_needs_no_name_server() {
        assert_eq!(address_of("10.0.0.5").unwrap(), Ipv4Addr::new(10, 0, 0, 5));
        assert_eq!(address_of("localhost").unwrap(), Ipv4Addr::LOCALHOST);
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let error = |errno| MountError::Refused {
            export: "10.0.0.5:/images".into(),
            errno,
        };
        let text = error(Errno::EACCES).to_string();
        assert!(
            text.contains("10.0.0.5:/images") && text.contains("/etc/exports"),
            "{text}"
        );
        assert!(error(Errno::ETIMEDOUT).is_temporary());
        assert!(!error(Errno::ENODEV).is_temporary());
    }
}
