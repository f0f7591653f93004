//! Programs that run on this machine, as `/proc` shows them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A process with its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: i32,
    /// Program and arguments, not checked in any way.
    pub(crate) words: Vec<Vec<u8>>,
}

/// Of a command line that is read; arguments are cut there.
const LINE_MAX: u64 = 16 << 10;
/// Processes that are looked at.
const PROCESSES_MAX: usize = 32_768;

/// Those of `processes`, which is `/proc`, with a command line: no threads of the kernel.
pub(crate) fn list(processes: &Path) -> Vec<Process> {
    let entries = fs::read_dir(processes).into_iter().flatten().flatten();
    let mut found: Vec<Process> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let mut line = Vec::new();
            let file = File::open(entry.path().join("cmdline")).ok()?;
            file.take(LINE_MAX).read_to_end(&mut line).ok()?;
            let words: Vec<Vec<u8>> = line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
            (!line.is_empty()).then_some(Process { pid, words })
        })
        .take(PROCESSES_MAX)
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// Those whose network is that of this process: what is in a container is the container's.
pub(crate) fn in_this_network() -> Vec<Process> {
    let processes = Path::new("/proc");
    let network = |pid: &str| fs::read_link(processes.join(pid).join("ns/net")).ok();
    let own = network("self");
    let mut found = list(processes);
    found.retain(|process| network(&process.pid.to_string()) == own);
    found
}

impl Process {
    /// The name of the program, without its directory.
    pub(crate) fn program(&self) -> &[u8] {
        let first = self.words.first().map_or(&[][..], Vec::as_slice);
        first.rsplit(|byte| *byte == b'/').next().unwrap_or(first)
    }

    /// Whether it is udpcast's sender, or ours by its name: one that sends a single stream and knows no server.
    pub(crate) fn is_single_sender(&self) -> bool {
        let is_named = |word: &[u8]| word == b"udp-sender";
        let is_first = |word: &Vec<u8>| is_named(word);
        is_named(self.program())
            || (self.program() == b"fos-server" && self.words.get(1).is_some_and(is_first))
    }

    /// The file that it sends, if it was named.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStrExt as _;

        let mut words = self.words.iter();
        while let Some(word) = words.next() {
            let path = match word.as_slice() {
                b"--file" | b"-f" => words.next()?.as_slice(),
                other => match other.strip_prefix(b"--file=") {
                    Some(path) => path,
                    None => continue,
                },
            };
            return Some(PathBuf::from(std::ffi::OsStr::from_bytes(path)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_told_from_programs_that_only_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let process = |number: &str, words: &[&str]| {
            let place = dir.path().join(number);
            fs::create_dir(&place).unwrap();
            fs::write(place.join("cmdline"), words.join("\0") + "\0").unwrap();
        };
        process("3", &["vi", "udp-sender"]);
        process(
            "20",
            &["/usr/sbin/udp-sender", "--file", "/images/a/d1p1.img"],
        );
        process("7", &["/usr/bin/fos-server", "udp-sender", "--file=/x"]);
        process("8", &["fos-server", "serve"]);
        process("self", &["udp-sender"]);
        fs::create_dir(dir.path().join("9")).unwrap();
        fs::write(dir.path().join("9/cmdline"), "").unwrap();
        let all = list(dir.path());
        assert_eq!(all.len(), 4);
        let senders: Vec<(i32, Option<PathBuf>)> = all
            .iter()
            .filter(|process| process.is_single_sender())
            .map(|process| (process.pid, process.file()))
            .collect();
        assert_eq!(
            senders,
            [
                (7, Some("/x".into())),
                (20, Some("/images/a/d1p1.img".into()))
            ]
        );
    }
}
