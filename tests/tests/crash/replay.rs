//! A disk as a power cut leaves it.
//!
//! What was synced is there. Of the rest each part is there or not, in any combination: names that
//! were made, moved or removed until their directory is synced; writes, each sector of 512 octets for
//! itself, and lengths, until the file is synced. No file system is worse than that.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::random::Random;
use crate::trace::Call;

/// A file by its number: names come and go.
type FileNo = usize;

/// What is below a directory.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    files: Vec<Content>,
    /// Names as programs see them.
    names: BTreeMap<PathBuf, Node>,
    /// Names that a power cut leaves for sure.
    synced: BTreeMap<PathBuf, Node>,
    /// Changes of names since their directory was synced, in their order.
    changes: Vec<(PathBuf, Option<Node>)>,
    /// What was not synced yet when a thread's sync began: places in the lists below.
    begun: HashMap<u32, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
    File(FileNo),
}

#[derive(Debug, Default)]
struct Content {
    /// As programs see it.
    len: u64,
    synced: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    SetLen(u64),
}

const SECTOR: usize = 512;

impl Disk {
    /// An empty directory that is there for sure.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: Vec::new(),
            names: BTreeMap::new(),
            synced: BTreeMap::new(),
            changes: Vec::new(),
            begun: HashMap::new(),
        }
    }

    /// Carries out a call, if it is of our concern.
    pub(crate) fn apply(&mut self, call: &Call) {
        match call {
            Call::Create { path } => {
                if self.is_ours(path) && !self.names.contains_key(path) {
                    let file = self.files.len();
                    self.files.push(Content::default());
                    self.name(path, Some(Node::File(file)));
                }
            }
            Call::MakeDirectory { path } => {
                if self.is_ours(path) {
                    self.name(path, Some(Node::Directory));
                }
            }
            Call::Empty { path } => self.change(path, |_| Change::SetLen(0)),
            Call::SetLen { path, len } => self.change(path, |_| Change::SetLen(*len)),
            Call::Write { path, at, bytes } => self.change(path, |len| Change::Write {
                at: at.unwrap_or(len),
                bytes: bytes.clone(),
            }),
            Call::Remove { path } => {
                if self.names.contains_key(path) {
                    self.name(path, None);
                }
            }
            Call::Rename { from, to } => {
                if let Some(node) = self.names.get(from).copied() {
                    self.name(to, Some(node));
                    self.name(from, None);
                }
            }
            Call::SyncBegins { path, thread } => {
                let count = match self.file(path) {
                    Some(file) => self.files[file].changes.len(),
                    None => self.changes.len(),
                };
                self.begun.insert(*thread, count);
            }
            Call::SyncEnds { path, thread } => {
                let count = self.begun.remove(thread).unwrap_or(0);
                self.sync(path, count);
            }
            Call::Other => {}
        }
    }

    fn sync(&mut self, path: &Path, count: usize) {
        if let Some(file) = self.file(path) {
            let content = &mut self.files[file];
            let count = count.min(content.changes.len());
            let changes: Vec<_> = content.changes.drain(..count).collect();
            for change in changes {
                carry_out(&mut content.synced, &change, |_| true);
            }
            return;
        }
        let mut left = Vec::new();
        for (index, (name, node)) in std::mem::take(&mut self.changes).into_iter().enumerate() {
            if index < count && name.parent() == Some(path) {
                set(&mut self.synced, name, node);
            } else {
                left.push((name, node));
            }
        }
        self.changes = left;
    }

    /// Makes what a power cut leaves now, in the real directory, which is empty.
    pub(crate) fn cut(&self, random: &mut Random) {
        let mut names = self.synced.clone();
        for (name, node) in &self.changes {
            if random.percent(50) {
                set(&mut names, name.clone(), *node);
            }
        }
        for (path, node) in &names {
            // A name whose directory is not there cannot be there. Directories come first.
            if !path.parent().unwrap().is_dir() {
                continue;
            }
            match node {
                Node::Directory => fs::create_dir(path).unwrap(),
                Node::File(file) => fs::write(path, self.files[*file].left(random)).unwrap(),
            }
        }
    }

    /// What a power cut may take, for whoever reads a failure.
    pub(crate) fn unsynced(&self) -> String {
        let mut text = format!("names: {:?}\n", self.changes);
        for (path, node) in &self.names {
            if let Node::File(file) = node {
                let content = &self.files[*file];
                let (path, count) = (path.display(), content.changes.len());
                text += &format!("{path}: {count} changes, {} synced\n", content.synced.len());
            }
        }
        text
    }

    fn is_ours(&self, path: &Path) -> bool {
        // SQLite's index is memory, and sockets are none of it.
        let is_index = path.to_string_lossy().ends_with("-shm");
        path.starts_with(&self.root) && !is_index
    }

    fn file(&self, path: &Path) -> Option<FileNo> {
        match self.names.get(path) {
            Some(Node::File(file)) => Some(*file),
            _ => None,
        }
    }

    fn name(&mut self, path: &Path, node: Option<Node>) {
        set(&mut self.names, path.to_owned(), node);
        self.changes.push((path.to_owned(), node));
    }

    fn change(&mut self, path: &Path, change: impl FnOnce(u64) -> Change) {
        let Some(file) = self.file(path) else {
            return;
        };
        let content = &mut self.files[file];
        let change = change(content.len);
        content.len = match &change {
            Change::SetLen(len) => *len,
            Change::Write { at, bytes } => content.len.max(at + bytes.len() as u64),
        };
        content.changes.push(change);
    }
}

impl Content {
    /// What is there after a power cut.
    fn left(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for change in &self.changes {
            match random.below(3) {
                0 => {}
                1 => carry_out(&mut bytes, change, |_| true),
                _ => {
                    // Torn: some sectors of it.
                    let mut random = random.branch();
                    carry_out(&mut bytes, change, |_| random.percent(50));
                }
            }
        }
        bytes
    }
}

fn carry_out(bytes: &mut Vec<u8>, change: &Change, mut is_written: impl FnMut(usize) -> bool) {
    match change {
        Change::SetLen(len) => bytes.resize(usize::try_from(*len).unwrap(), 0),
        Change::Write { at, bytes: new } => {
            let mut at = usize::try_from(*at).unwrap();
            let mut rest = &new[..];
            while !rest.is_empty() {
                let len = (SECTOR - at % SECTOR).min(rest.len());
                let (sector, more) = rest.split_at(len);
                if is_written(at / SECTOR) {
                    if bytes.len() < at + len {
                        bytes.resize(at + len, 0);
                    }
                    bytes[at..at + len].copy_from_slice(sector);
                }
                at += len;
                rest = more;
            }
        }
    }
}

fn set(names: &mut BTreeMap<PathBuf, Node>, name: PathBuf, node: Option<Node>) {
    match node {
        Some(node) => names.insert(name, node),
        None => names.remove(&name),
    };
}
