//! The files of one run: logs, disks, the server's data. Gone afterwards, unless they are wanted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::paths;

/// The directory of this run. Dropping it removes what is not to stay.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    stays: Stays,
}

/// What of it is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    Nothing,
    /// The small files, for someone who wants to know what went wrong.
    Logs,
    Everything,
}

impl RunDir {
    pub(crate) fn new(is_kept: bool) -> Result<Self> {
        let path = paths::target()
            .join("demo")
            .join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        let stays = if is_kept {
            Stays::Everything
        } else {
            Stays::Logs
        };
        Ok(Self { path, stays })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All went well: nothing need stay, if it was not asked for.
    pub(crate) fn succeeded(&mut self) {
        if self.stays == Stays::Logs {
            self.stays = Stays::Nothing;
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let result = match self.stays {
            Stays::Everything => {
                println!("kept: {}", self.path.display());
                Ok(())
            }
            Stays::Nothing => fs::remove_dir_all(&self.path),
            Stays::Logs => {
                println!("logs: {}", self.path.display());
                remove_all_but_logs(&self.path)
            }
        };
        if let Err(error) = result {
            eprintln!("xtask: removing {}: {error}", self.path.display());
        }
    }
}

fn remove_all_but_logs(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.extension().is_none_or(|extension| extension != "log") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
