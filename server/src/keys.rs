//! The server's own key (native protocol, 4.1): it signs manifests, and says that this is the server.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pack::{Roles, SecretKey, TrustedKey};

use crate::private;

/// The file with the secret half, which is made at first use and then stays.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join("keys").join("server.key")
}

/// The file with the public half, for the boot image of clients.
pub(crate) fn public_path(data: &Path) -> PathBuf {
    path(data).with_extension("pub")
}

/// The key of the server with this data directory. Blocks.
///
/// # Errors
/// It cannot be read or made.
pub(crate) fn server_key(data: &Path) -> anyhow::Result<SecretKey> {
    let path = path(data);
    let directory = path.parent().unwrap_or(data);
    private::create_dir(directory)
        .with_context(|| format!("making the directory {}", directory.display()))?;
    let key = match fs::exists(&path).with_context(|| format!("looking for {}", path.display()))? {
        true => read(&path)?,
        false => make(&path)?,
    };
    // A person may have put another key there.
    let public = public_path(data);
    let line = format!(
        "{}\n",
        TrustedKey {
            key: *key.public(),
            roles: Roles::ALL,
        }
    );
    if fs::read_to_string(&public).ok().as_deref() != Some(&line) {
        let mode = Permissions::from_mode(0o644);
        let written = write(&public, line.as_bytes(), mode, Existing::Replaced);
        written.with_context(|| format!("writing {}", public.display()))?;
    }
    Ok(key)
}

/// A secret key out of a file.
///
/// # Errors
/// It cannot be read, or has no key.
pub(crate) fn read(path: &Path) -> anyhow::Result<SecretKey> {
    let context = || format!("reading the key {}", path.display());
    let text = fs::read_to_string(path).with_context(context)?;
    SecretKey::from_pem(&text).with_context(context)
}

fn make(path: &Path) -> anyhow::Result<SecretKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("random numbers: {error}"))?;
    let key = SecretKey::from_seed(&seed);
    let mode = Permissions::from_mode(0o600);
    match write(path, key.to_pem().as_bytes(), mode, Existing::Kept) {
        Ok(()) => Ok(key),
        // Another program was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(error).with_context(|| format!("writing the key {}", path.display())),
    }
}

/// What becomes of a file that is there.
enum Existing {
    Kept,
    Replaced,
}

/// The whole file or none, on the medium.
fn write(path: &Path, bytes: &[u8], mode: Permissions, existing: Existing) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(mode)
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match existing {
        Existing::Kept => drop(file.persist_noclobber(path)?),
        Existing::Replaced => drop(file.persist(path)?),
    }
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4.1: made once, for this user alone.
    #[test]
    fn the_key_is_made_at_first_use_and_stays() {
        let data = tempfile::tempdir().unwrap();
        let key = server_key(data.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path(data.path())), 0o600);
        assert_eq!(mode(path(data.path()).parent().unwrap()), 0o700);
        let again = server_key(data.path()).unwrap();
        assert_eq!(again.public(), key.public());
        let line = fs::read_to_string(public_path(data.path())).unwrap();
        let public: TrustedKey = line.parse().unwrap();
        assert_eq!((&public.key, public.roles), (key.public(), Roles::ALL));
        let names = fs::read_dir(data.path().join("keys")).unwrap().count();
        assert_eq!(names, 2);
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("keys")).unwrap();
        fs::write(path(data.path()), "no key").unwrap();
        let error = server_key(data.path()).unwrap_err();
        assert!(format!("{error:#}").contains("ed25519"), "{error:#}");
        assert_eq!(fs::read(path(data.path())).unwrap(), b"no key");
    }

    #[test]
    fn a_key_of_another_machine_gets_its_public_half() {
        let data = tempfile::tempdir().unwrap();
        server_key(data.path()).unwrap();
        let other = SecretKey::from_seed(&[5; 32]);
        fs::write(path(data.path()), other.to_pem()).unwrap();
        server_key(data.path()).unwrap();
        let line = fs::read_to_string(public_path(data.path())).unwrap();
        assert_eq!(line.parse::<TrustedKey>().unwrap().key, *other.public());
    }
}
