//! Whether an archive of the kernel's format (`newc`) has certain files. It comes in pieces, and is not kept.

/// Looks for files by their names, wherever in the archive they are.
#[derive(Debug)]
pub struct Seeker {
    wanted: Vec<(String, bool)>,
    /// Header and name of the entry that comes, at most [`NAME_MAX`] and a little.
    head: Vec<u8>,
    /// Bytes of a file that come before the next entry.
    skip: u64,
    is_ended: bool,
}

/// What comes is no such archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoArchive;

impl std::fmt::Display for NoArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this is no archive in the kernel's format")
    }
}

impl std::error::Error for NoArchive {}

impl Seeker {
    /// For files of these names, without directories.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self {
            wanted: names.into_iter().map(|name| (name, false)).collect(),
            head: Vec::new(),
            skip: 0,
            is_ended: false,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// They do not go on as an archive does.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), NoArchive> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let len = usize::try_from(self.skip).unwrap_or(usize::MAX);
                let len = len.min(bytes.len());
                bytes = &bytes[len..];
                self.skip -= len as u64;
                continue;
            }
            if self.head.is_empty() {
                // Between two archives, and behind the last one.
                let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
                bytes = &bytes[zeroes..];
                if bytes.is_empty() {
                    break;
                }
            }
            let need = match self.head.len() {
                0..HEADER_LEN => HEADER_LEN,
                _ => Header::parse(&self.head)?.len,
            };
            let len = (need - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            if self.head.len() < HEADER_LEN {
                continue;
            }
            let header = Header::parse(&self.head)?;
            if self.head.len() == header.len {
                self.entry(&header);
                self.head.clear();
            }
        }
        Ok(())
    }

    fn entry(&mut self, header: &Header) {
        let name = &self.head[HEADER_LEN..HEADER_LEN + header.name_len];
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        self.is_ended = name == b"TRAILER!!!";
        self.skip = header.file_len.next_multiple_of(4);
        if header.mode & TYPE != FILE {
            return;
        }
        let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
        for (wanted, is_found) in &mut self.wanted {
            *is_found |= wanted.as_bytes() == name;
        }
    }

    /// The names that no file has; `None` if the archive has not ended.
    #[must_use]
    pub fn lacking(&self) -> Option<Vec<&str>> {
        let lacking = self.wanted.iter().filter(|(_, is_found)| !is_found);
        self.is_ended
            .then(|| lacking.map(|(name, _)| name.as_str()).collect())
    }
}

/// What is needed of a header.
struct Header {
    mode: u32,
    file_len: u64,
    name_len: usize,
    /// Of header and name, with what fills the name up.
    len: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, NoArchive> {
        let magic = bytes.get(..6);
        if magic != Some(b"070701") && magic != Some(b"070702") {
            return Err(NoArchive);
        }
        // Thirteen numbers of eight hexadecimal digits.
        let number = |index: usize| {
            let at = 6 + 8 * index;
            let digits = bytes.get(at..at + 8).ok_or(NoArchive)?;
            let digits = std::str::from_utf8(digits).map_err(|_| NoArchive)?;
            u32::from_str_radix(digits, 16).map_err(|_| NoArchive)
        };
        let name_len = usize::try_from(number(11)?).map_err(|_| NoArchive)?;
        if name_len > NAME_MAX {
            return Err(NoArchive);
        }
        Ok(Self {
            mode: number(1)?,
            file_len: number(6)?.into(),
            name_len,
            len: (HEADER_LEN + name_len).next_multiple_of(4),
        })
    }
}

const HEADER_LEN: usize = 110;
/// The kernel's limit of a path.
const NAME_MAX: usize = 4096;
/// Bits of a mode that say what it is of.
const TYPE: u32 = 0o170_000;
const FILE: u32 = 0o100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tree;

    fn archive() -> Vec<u8> {
        let mut tree = Tree::default();
        tree.file("usr/sbin/partclone.extfs", 0o755, vec![b'0'; 5])
            .unwrap();
        tree.file("usr/sbin/empty", 0o755, Vec::new()).unwrap();
        tree.link("bin/partclone.ntfs", "/init").unwrap();
        tree.to_newc().unwrap()
    }

    fn names() -> Vec<String> {
        ["partclone.extfs", "partclone.ntfs", "empty"]
            .map(String::from)
            .to_vec()
    }

    #[test]
    fn files_are_found_however_the_archive_comes_and_links_are_none() {
        let archive = archive();
        for step in [1, 3, 110, 4096] {
            let mut seeker = Seeker::new(names());
            for piece in archive.chunks(step) {
                seeker.push(piece).unwrap();
            }
            assert_eq!(seeker.lacking().unwrap(), ["partclone.ntfs"], "{step}");
        }
    }

    #[test]
    fn an_archive_behind_another_one_is_looked_at() {
        let mut tree = Tree::default();
        tree.file("kernel/x86/microcode", 0o644, vec![1; 7])
            .unwrap();
        let mut whole = tree.to_newc().unwrap();
        whole.resize(whole.len().next_multiple_of(512), 0);
        whole.extend(archive());
        let mut seeker = Seeker::new(names());
        seeker.push(&whole).unwrap();
        assert_eq!(seeker.lacking().unwrap(), ["partclone.ntfs"]);
    }

    #[test]
    fn of_what_is_cut_off_or_something_else_nothing_is_said() {
        let archive = archive();
        let trailer = archive.windows(10).position(|at| at == b"TRAILER!!!");
        for cut in 0..trailer.unwrap() {
            let mut seeker = Seeker::new(names());
            seeker.push(&archive[..cut]).unwrap();
            assert_eq!(seeker.lacking(), None, "{cut}");
        }
        let mut seeker = Seeker::new(names());
        assert_eq!(seeker.push(&[7; 200]), Err(NoArchive));
        // A name that would take gigabytes.
        let mut large = archive;
        large[94..102].copy_from_slice(b"ffffffff");
        assert_eq!(Seeker::new(names()).push(&large), Err(NoArchive));
    }
}
