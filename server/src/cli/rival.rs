//! FOG's own multicast manager: it and this server would both send the sessions of FOG's database.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;

/// Makes sure that FOG's manager does not run on this machine.
///
/// # Errors
/// If it does.
pub(super) fn check() -> anyhow::Result<()> {
    match find(Path::new(PROCESSES)) {
        Some(process) => bail!(
            "FOG's own {MANAGER} runs here (process {process}): both would send the sessions of FOG's \
             database. Stop it first, for good: systemctl disable --now {MANAGER}"
        ),
        None => Ok(()),
    }
}

/// Looks again and again whether it runs, as it may be started later, and says so when that changes.
pub(super) async fn watch(
    processes: PathBuf,
    period: Duration,
    mut tell: impl FnMut(Option<String>),
) {
    let mut known = None;
    loop {
        tokio::time::sleep(period).await;
        let place = processes.clone();
        let found = tokio::task::spawn_blocking(move || find(&place)).await;
        let found = found.unwrap_or_default();
        if found != known {
            known = found;
            tell(found.map(|process| {
                format!(
                    "FOG's own {MANAGER} runs here, too (process {process}): what is begun now would be sent twice. \
                     Stop it, for good: systemctl disable --now {MANAGER}"
                )
            }));
        }
    }
}

/// The number of its process, or of one of them.
pub(super) fn find(processes: &Path) -> Option<u32> {
    let entries = std::fs::read_dir(processes).ok()?;
    let is_manager = |directory: &Path| {
        let line = std::fs::read(directory.join("cmdline")).unwrap_or_default();
        // Its interpreter, options, itself; not a file that a person looks at.
        let mut words = line.split(|byte| *byte == 0);
        let interpreter = words.next().map(|word| Path::new(OsStr::from_bytes(word)));
        let interpreter = interpreter.and_then(Path::file_name).unwrap_or_default();
        let is_php = interpreter.as_bytes().starts_with(b"php");
        let is_name = |word: &[u8]| {
            Path::new(OsStr::from_bytes(word)).file_name() == Some(OsStr::new(MANAGER))
        };
        interpreter == MANAGER || (is_php && words.any(is_name))
    };
    let mut found: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            is_manager(&entry.path()).then_some(number)
        })
        .collect();
    found.sort_unstable();
    found.first().copied()
}

const MANAGER: &str = "FOGMulticastManager";

/// Where processes are.
pub(super) const PROCESSES: &str = "/proc";

/// Between two looks.
pub(super) const PERIOD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manager_that_comes_later_is_told_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let watch = watch(dir.path().into(), Duration::from_millis(1), move |found| {
            told.send(found).unwrap();
        });
        let watch = tokio::spawn(watch);
        let process = dir.path().join("77");
        std::fs::create_dir(&process).unwrap();
        std::fs::write(process.join("cmdline"), MANAGER).unwrap();
        let text = heard.recv().await.unwrap().unwrap();
        assert!(text.contains("process 77"), "{text}");
        std::fs::remove_dir_all(&process).unwrap();
        assert_eq!(heard.recv().await.unwrap(), None);
        watch.abort();
    }

    #[test]
    fn the_manager_is_found_among_processes() {
        let dir = tempfile::tempdir().unwrap();
        let process = |number: &str, words: &[&str]| {
            let place = dir.path().join(number);
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join("cmdline"), words.join("\0") + "\0").unwrap();
        };
        process("1", &["/sbin/init"]);
        process("2", &[]);
        process(
            "7",
            &[
                "vi",
                "/opt/fog/service/FOGMulticastManager/FOGMulticastManager",
            ],
        );
        process(
            "8",
            &["php", "-q", "/opt/fog/service/FOGImageSize/FOGImageSize"],
        );
        process("sys", &["php", "FOGMulticastManager"]);
        assert_eq!(find(dir.path()), None);
        let manager = "/opt/fog/service/FOGMulticastManager/FOGMulticastManager";
        process("30", &["/usr/bin/php8.2", "-q", manager]);
        process("4", &["/usr/bin/php", "-q", manager]);
        assert_eq!(find(dir.path()), Some(4));
        assert_eq!(find(&dir.path().join("missing")), None);
    }
}
