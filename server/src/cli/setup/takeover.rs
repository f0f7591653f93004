//! The place of FOG's own multicast manager: its unit's name leads to ours, and back.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

const NAME: &str = "FOGMulticastManager.service";
/// A unit of FOG's that stands where our link has to be.
const KEPT: &str = "FOGMulticastManager.service.kept-by-fos-server";
/// Where our unit is.
const OURS: &str = "/usr/lib/systemd/system/fos-server.service";

/// The directories of systemd, below `/` or another root.
#[derive(Debug)]
pub(super) struct Units {
    directory: PathBuf,
}

impl Units {
    pub(super) fn below(root: &Path) -> Self {
        Self {
            directory: root.join("etc/systemd/system"),
        }
    }

    fn link(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    fn kept(&self) -> PathBuf {
        self.directory.join(KEPT)
    }

    /// Whether the name leads to our unit.
    pub(super) fn is_taken(&self) -> bool {
        fs::read_link(self.link()).is_ok_and(|target| target == Path::new(OURS))
    }

    /// Lets the name lead to our unit. FOG's own is covered where it is elsewhere (a name in `/etc` comes first), and
    /// kept beside it where it is here. Nothing changes if that was done before.
    pub(super) fn take(&self) -> anyhow::Result<()> {
        if self.is_taken() {
            return Ok(());
        }
        let (link, kept) = (self.link(), self.kept());
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("making {}", self.directory.display()))?;
        if link.symlink_metadata().is_ok() {
            if kept.symlink_metadata().is_ok() {
                bail!(
                    "{} and {} are both there; look at them, and remove one",
                    link.display(),
                    kept.display()
                );
            }
            fs::rename(&link, &kept).with_context(|| format!("keeping {}", link.display()))?;
        }
        symlink(OURS, &link).with_context(|| format!("linking {}", link.display()))
    }

    /// Gives the name back, as it was.
    pub(super) fn give_back(&self) -> anyhow::Result<()> {
        let (link, kept) = (self.link(), self.kept());
        if self.is_taken() {
            fs::remove_file(&link).with_context(|| format!("removing {}", link.display()))?;
        }
        match fs::rename(&kept, &link) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            renamed => renamed.with_context(|| format!("restoring {}", link.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_leads_to_ours_and_comes_back_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let units = Units::below(root.path());
        // FOG's own is elsewhere: nothing has to be kept.
        units.take().unwrap();
        units.take().unwrap();
        assert!(units.is_taken());
        units.give_back().unwrap();
        assert!(units.link().symlink_metadata().is_err());
        units.give_back().unwrap();
        // It is here, as a file.
        fs::write(units.link(), "[Service]\n").unwrap();
        units.take().unwrap();
        assert!(units.is_taken());
        units.take().unwrap();
        units.give_back().unwrap();
        assert_eq!(fs::read_to_string(units.link()).unwrap(), "[Service]\n");
        assert!(!units.is_taken());
        assert!(units.kept().symlink_metadata().is_err());
        // Somebody has put another one there meanwhile: neither is lost.
        units.take().unwrap();
        fs::remove_file(units.link()).unwrap();
        fs::write(units.link(), "other").unwrap();
        units.take().unwrap_err();
    }
}
