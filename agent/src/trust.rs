//! The keys that this machine trusts: those of its boot image, or those that a person names.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use pack::{Mode, Trust, TrustedKey};

const DIRECTORY: &str = "/etc/fos/trust.d";
const MODE: &str = "/etc/fos/trust.mode";
/// A key is a line, a mode a word.
const LARGEST: u64 = 4096;
/// More than anybody rotates.
const MAX_KEYS: usize = 64;

/// The keys in `files`, and no others; without any those of the boot image, as much as its mode says.
///
/// # Errors
/// A file cannot be read or is not what it should be. What is given and cannot be used is never passed over.
pub(crate) fn load(files: &[PathBuf]) -> anyhow::Result<Trust> {
    if files.is_empty() {
        return of_boot_image(Path::new(DIRECTORY), Path::new(MODE));
    }
    let keys = files.iter().map(|path| key(path));
    Ok(Trust::new(
        Mode::Require,
        keys.collect::<anyhow::Result<_>>()?,
    ))
}

fn of_boot_image(directory: &Path, mode: &Path) -> anyhow::Result<Trust> {
    let mode = match read(mode) {
        Err(error) if is_missing(&error) => Mode::default(),
        read => read?.parse().with_context(|| mode.display().to_string())?,
    };
    let reading = || format!("reading the trusted keys in {}", directory.display());
    let mut paths = Vec::new();
    match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        entries => {
            for entry in entries.with_context(reading)? {
                let path = entry.with_context(reading)?.path();
                if path.extension().is_some_and(|ending| ending == "pub") {
                    paths.push(path);
                }
            }
        }
    }
    ensure!(
        paths.len() <= MAX_KEYS,
        "{} has more than {MAX_KEYS} keys",
        directory.display()
    );
    paths.sort();
    let keys = paths.iter().map(|path| key(path));
    Ok(Trust::new(mode, keys.collect::<anyhow::Result<_>>()?))
}

fn key(path: &Path) -> anyhow::Result<TrustedKey> {
    let key = read(path)?.parse();
    key.with_context(|| format!("the trusted key {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    read.with_context(|| format!("reading {}", path.display()))?;
    Ok(text)
}

fn is_missing(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use pack::{Roles, Root, SecretKey, Signature};

    use super::*;

    /// 4.1, 4.3: what the boot image has decides.
    #[test]
    fn the_boot_image_says_whom_it_trusts() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, mode) = (dir.path().join("trust.d"), dir.path().join("trust.mode"));
        let load = || of_boot_image(&keys, &mode);
        assert!(
            load().unwrap().is_open(),
            "an initramfs without keys is open"
        );
        fs::write(&mode, "require\n").unwrap();
        assert!(!load().unwrap().is_open());
        fs::remove_file(&mode).unwrap();
        fs::create_dir(&keys).unwrap();
        fs::write(keys.join("README"), "no key").unwrap();
        assert!(load().unwrap().is_open());
        let secret = SecretKey::from_seed(&[3; 32]);
        let line = TrustedKey {
            key: *secret.public(),
            roles: Roles::ALL,
        };
        let path = keys.join("server.pub");
        fs::write(&path, line.to_string()).unwrap();
        let root = Root::of(b"manifest");
        let signature = Signature::sign(&root, &secret);
        let trust = load().unwrap();
        trust.check(&root, Some(&signature)).unwrap();
        trust.check(&root, None).unwrap_err();
        fs::write(&mode, "sometimes").unwrap();
        let error = load().unwrap_err();
        assert!(
            format!("{error:#}").contains("expected require"),
            "{error:#}"
        );
        fs::write(&mode, "open").unwrap();
        assert!(load().unwrap().is_open());
        fs::write(&path, "nonsense").unwrap();
        let error = load().unwrap_err();
        assert!(format!("{error:#}").contains("server.pub"), "{error:#}");
    }

    #[test]
    fn keys_that_are_named_are_the_only_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pub");
        assert!(
            load(std::slice::from_ref(&path)).is_err(),
            "it is not there"
        );
        let secret = SecretKey::from_seed(&[3; 32]);
        let line = TrustedKey {
            key: *secret.public(),
            roles: Roles::IMAGE,
        };
        fs::write(&path, line.to_string()).unwrap();
        let trust = load(&[path]).unwrap();
        assert!(!trust.is_open());
        trust.check(&Root::of(b"manifest"), None).unwrap_err();
    }
}
