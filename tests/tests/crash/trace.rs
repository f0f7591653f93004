//! Reads what `strace -f -ttt -y -xx` has written.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::http::MARK;

/// A system call, or the end of one: whatever has an effect of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// A file was opened that did not exist before, or may not have.
    Create {
        path: PathBuf,
    },
    /// A file lost its content when it was opened.
    Empty {
        path: PathBuf,
    },
    MakeDirectory {
        path: PathBuf,
    },
    /// Bytes on their way into a file; `None` for the place: at its end.
    Write {
        path: PathBuf,
        at: Option<u64>,
        bytes: Vec<u8>,
    },
    SetLen {
        path: PathBuf,
        len: u64,
    },
    Remove {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    /// A sync begins: what is written by now is in it.
    SyncBegins {
        path: PathBuf,
        thread: u32,
    },
    /// It has ended well.
    SyncEnds {
        path: PathBuf,
        thread: u32,
    },
    /// Anything else that takes a place in the order.
    Other,
}

/// All calls in their order.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) calls: Vec<Call>,
    /// When each of them began.
    times: Vec<f64>,
    /// Before which call the answer to a marked request was sent.
    answers: BTreeMap<u64, usize>,
}

impl Trace {
    pub(crate) fn read(file: &Path) -> Self {
        let mut reader = Reader::default();
        for line in fs::read_to_string(file).unwrap().lines() {
            reader.line(line);
        }
        Self {
            calls: reader.calls,
            times: reader.times,
            answers: reader.answers,
        }
    }

    /// Whether the answer to a request was on its way before the call with the index `cut`. One whose
    /// sending was not seen counts from when its client had it, a moment later.
    pub(crate) fn is_answered(&self, number: u64, cut: usize, at: f64) -> bool {
        match self.answers.get(&number) {
            Some(sent) => *sent < cut,
            None => self.times.get(cut).is_none_or(|time| at < *time),
        }
    }
}

#[derive(Default)]
struct Reader {
    calls: Vec<Call>,
    times: Vec<f64>,
    answers: BTreeMap<u64, usize>,
    /// What was cut in two, by thread.
    unfinished: HashMap<u32, String>,
    /// Requests that wait for their answer, by connection.
    asked: HashMap<String, u64>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        // Numbers of threads are padded with blanks.
        let Some((thread, rest)) = line.split_once(' ') else {
            return;
        };
        let Some((time, text)) = rest.trim_start().split_once(' ') else {
            return;
        };
        let (Ok(thread), Ok(time)) = (thread.parse(), time.parse()) else {
            return;
        };
        if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            self.begins(thread, time, begun);
            self.unfinished.insert(thread, begun.to_owned());
        } else if let Some(resumed) = text.strip_prefix("<... ") {
            let begun = self.unfinished.remove(&thread).unwrap_or_default();
            let rest = resumed.split_once(" resumed>").map_or("", |(_, rest)| rest);
            self.ends(thread, time, &(begun + rest));
        } else {
            self.begins(thread, time, text);
            self.ends(thread, time, text);
        }
    }

    fn push(&mut self, time: f64, call: Call) {
        self.calls.push(call);
        self.times.push(time);
    }

    /// Effects of a call that may be there as soon as it begins.
    fn begins(&mut self, thread: u32, time: f64, text: &str) {
        let Some((name, arguments)) = text.split_once('(') else {
            return;
        };
        let arguments = arguments
            .rsplit_once(") = ")
            .map_or(arguments, |(arguments, _)| arguments);
        let call = match name {
            "fsync" | "fdatasync" => {
                descriptor(arguments).map(|path| Call::SyncBegins { path, thread })
            }
            "write" | "sendto" | "writev" | "pwrite64" => {
                if let Some((number, _)) = arguments.split_once('<')
                    && let Some(request) = self.asked.remove(number)
                {
                    self.answers.insert(request, self.calls.len());
                }
                let at = match name {
                    "pwrite64" => last_number(arguments),
                    _ => None,
                };
                let bytes = strings(arguments).concat();
                let is_file = name != "sendto";
                let path = descriptor(arguments).filter(|_| is_file);
                path.map(|path| Call::Write { path, at, bytes })
            }
            _ => None,
        };
        self.push(time, call.unwrap_or(Call::Other));
    }

    /// Effects that need the result.
    fn ends(&mut self, thread: u32, time: f64, text: &str) {
        let Some((name, rest)) = text.split_once('(') else {
            return;
        };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else {
            return;
        };
        if result.starts_with('-') {
            return;
        }
        let paths = || strings(arguments).into_iter().map(path);
        match name {
            "recvfrom" => {
                let text = strings(arguments).concat();
                let text = String::from_utf8_lossy(&text).into_owned();
                let number = arguments.split_once('<').map(|(number, _)| number);
                let marked = text.split_once(&format!("{MARK}: "));
                let mark = marked.and_then(|(_, rest)| rest.get(..9)?.parse().ok());
                if let (Some(number), Some(mark)) = (number, mark) {
                    self.asked.insert(number.to_owned(), mark);
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(path) = descriptor(arguments) {
                    self.push(time, Call::SyncEnds { path, thread });
                }
            }
            "openat" | "creat" => {
                let Some(path) = descriptor(result) else {
                    return;
                };
                if arguments.contains("O_CREAT") || name == "creat" {
                    let path = path.clone();
                    self.push(time, Call::Create { path });
                }
                if arguments.contains("O_TRUNC") || name == "creat" {
                    self.push(time, Call::Empty { path });
                }
            }
            "ftruncate" => {
                if let (Some(path), Some(len)) = (descriptor(arguments), last_number(arguments)) {
                    self.push(time, Call::SetLen { path, len });
                }
            }
            "mkdir" | "mkdirat" => {
                if let Some(path) = paths().next() {
                    self.push(time, Call::MakeDirectory { path });
                }
            }
            "unlink" | "unlinkat" => {
                if let Some(path) = paths().next() {
                    self.push(time, Call::Remove { path });
                }
            }
            "rename" | "renameat" | "renameat2" => {
                let mut paths = paths();
                if let (Some(from), Some(to)) = (paths.next(), paths.next()) {
                    self.push(time, Call::Rename { from, to });
                }
            }
            "pwritev" | "fallocate" | "sync_file_range" => {
                panic!("the replay does not know {name}: {rest}")
            }
            _ => {}
        }
    }
}

/// The file of a descriptor at the beginning of a text: `12<\x2f\x74>`.
fn descriptor(text: &str) -> Option<PathBuf> {
    let (_, rest) = text.split_once('<')?;
    let (name, _) = rest.split_once('>')?;
    let bytes = octets(name);
    bytes.starts_with(b"/").then(|| path(bytes))
}

fn path(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8(bytes).unwrap().into()
}

/// All texts in quotes.
fn strings(arguments: &str) -> Vec<Vec<u8>> {
    let mut parts = arguments.split('"');
    let mut found = Vec::new();
    parts.next();
    while let (Some(text), Some(after)) = (parts.next(), parts.next()) {
        assert!(
            !after.starts_with("..."),
            "the recording left something out"
        );
        found.push(octets(text));
    }
    found
}

/// `\x2f\x74` as octets.
fn octets(text: &str) -> Vec<u8> {
    let mut digits = text.split("\\x");
    digits.next();
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn last_number(arguments: &str) -> Option<u64> {
    let text = arguments.trim_end_matches(')');
    text.rsplit_once(", ")?.1.parse().ok()
}
