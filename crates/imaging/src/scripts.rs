//! Scripts in the image store that FOG's clients run.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use fog::store::{SCRIPTS, has_commands};
use nix::fcntl::OFlag;

/// Names below the image root of the scripts that have commands. What cannot be read counts as absent: FOG's clients run
/// it from the same place. Blocks.
#[must_use]
pub fn scripts(root: &Path) -> Vec<String> {
    let found = SCRIPTS.into_iter().filter(|name| {
        // Without waiting, should it be a FIFO.
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let file = options.open(root.join(name));
        let file = file
            .ok()
            .filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()));
        let mut bytes = Vec::new();
        let read = file.map(|file| file.take(MAX_READ).read_to_end(&mut bytes));
        matches!(read, Some(Ok(_))) && has_commands(&bytes)
    });
    found.map(str::to_owned).collect()
}

/// Bytes of a script that are looked at.
const MAX_READ: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_do_something_are_found() {
        let root = tempfile::tempdir().unwrap();
        assert!(scripts(root.path()).is_empty());
        for name in SCRIPTS {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "#!/bin/bash\n## . ${postdownpath}x\n\n").unwrap();
        }
        assert!(scripts(root.path()).is_empty());
        let script = root.path().join(SCRIPTS[0]);
        std::fs::write(&script, "#!/bin/bash\n. ${postdownpath}drivers\n").unwrap();
        assert_eq!(scripts(root.path()), [SCRIPTS[0]]);
        std::fs::remove_file(&script).unwrap();
        std::fs::create_dir(&script).unwrap();
        assert!(scripts(root.path()).is_empty());
    }
}
