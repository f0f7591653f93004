//! How much of the logs is kept: the last lines of all, and the details of the last sessions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// Bytes of the log of all after which it is begun anew.
    pub(super) bytes: u64,
    /// Earlier ones of it, `multicast.log.1` the newest.
    pub(super) earlier: u32,
    /// Logs of sessions.
    pub(super) sessions: usize,
}

/// 200 MB of the log of all: a year of a school. The log of a session has at most some MB.
pub(super) const KEEP: Keep = Keep {
    bytes: 20_000_000,
    earlier: 9,
    sessions: 500,
};

/// Gives a log that has become long another name, and those before it the next one. The oldest goes.
///
/// # Errors
/// If that is not possible: then it goes on as it is.
pub(super) fn rotate(file: &Path, keep: Keep) -> io::Result<()> {
    match fs::metadata(file) {
        Ok(found) if found.len() >= keep.bytes => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for number in (1..keep.earlier).rev() {
        match fs::rename(numbered(file, number), numbered(file, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    match keep.earlier {
        0 => fs::remove_file(file),
        _ => fs::rename(file, numbered(file, 1)),
    }
}

fn numbered(file: &Path, number: u32) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Removes the logs of the oldest sessions: numbers only grow.
///
/// # Errors
/// If the directory cannot be read, or one not removed.
pub(super) fn prune(dir: &Path, prefix: &str, keep: Keep) -> io::Result<()> {
    let mut sessions = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            sessions.push(number);
        }
    }
    sessions.sort_unstable();
    let old = sessions.len().saturating_sub(keep.sessions);
    for number in sessions.into_iter().take(old) {
        fs::remove_file(dir.join(format!("{prefix}{number}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Keep = Keep {
        bytes: 10,
        earlier: 3,
        sessions: 2,
    };

    #[test]
    fn a_long_log_is_begun_anew_and_the_oldest_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.log");
        rotate(&file, SMALL).unwrap();
        for number in 0..6 {
            fs::write(&file, format!("short {number}")).unwrap();
            rotate(&file, SMALL).unwrap();
            assert!(file.exists());
            fs::write(&file, format!("long enough {number}")).unwrap();
            rotate(&file, SMALL).unwrap();
            assert!(!file.exists());
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("a.log.1"), "long enough 5");
        assert_eq!(read("a.log.3"), "long enough 3");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn the_logs_of_the_last_sessions_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "m.udpcast.9",
            "m.udpcast.10",
            "m.udpcast.8",
            "m.udpcast.x",
            "m",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        prune(dir.path(), "m.udpcast.", SMALL).unwrap();
        let entries = fs::read_dir(dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        assert_eq!(names, ["m", "m.udpcast.10", "m.udpcast.9", "m.udpcast.x"]);
    }
}
