//! Whether a file system is in order: one that was not left so may be half of what its owner expects.

use disk::NtfsMarks;

/// What a file system says of its own state, as far as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// It was not unmounted, or has errors that a check has to mend.
    pub is_dirty: bool,
    /// It holds a list of places that cannot be read.
    pub has_bad_clusters: bool,
    /// A Windows that sleeps on the disk, or was shut down with Fast Startup, has it half open.
    pub is_hibernated: bool,
    /// Whether that is so was not asked: the program that would find its file is missing.
    pub is_hibernation_unknown: bool,
}

impl From<NtfsMarks> for Condition {
    fn from(marks: NtfsMarks) -> Self {
        Self {
            is_dirty: marks.is_dirty,
            has_bad_clusters: marks.has_bad_clusters,
            ..Self::default()
        }
    }
}

/// Of ext2, ext3 and ext4, from the 1024 bytes at offset 1024 (kernel `Documentation/filesystems/ext4/super.rst`).
/// `None` if they are no superblock.
#[must_use]
pub fn ext_state(superblock: &[u8]) -> Option<Condition> {
    let u16_at = |at: usize| {
        let octets = superblock.get(at..)?.first_chunk()?;
        Some(u16::from_le_bytes(*octets))
    };
    let features = superblock.get(0x60..)?.first_chunk()?;
    if u16_at(0x38)? != EXT_MAGIC {
        return None;
    }
    let (state, features) = (u16_at(0x3a)?, u32::from_le_bytes(*features));
    let is_clean = state & EXT_CLEAN != 0 && state & EXT_ERRORS == 0 && features & EXT_RECOVER == 0;
    Some(Condition {
        is_dirty: !is_clean,
        ..Condition::default()
    })
}

/// Whether the beginning of `hiberfil.sys` is that of a system that sleeps: it is zero, or has another word, once it
/// was woken up.
#[must_use]
pub fn is_hibernation(first: &[u8]) -> bool {
    let word = first.get(..4).unwrap_or_default();
    word.eq_ignore_ascii_case(b"hibr")
}

const EXT_MAGIC: u16 = 0xef53;
const EXT_CLEAN: u16 = 1;
const EXT_ERRORS: u16 = 2;
/// The journal has to be replayed.
const EXT_RECOVER: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(state: u16, features: u32) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[0x38..0x3a].copy_from_slice(&EXT_MAGIC.to_le_bytes());
        bytes[0x3a..0x3c].copy_from_slice(&state.to_le_bytes());
        bytes[0x60..0x64].copy_from_slice(&features.to_le_bytes());
        bytes
    }

    #[test]
    fn a_file_system_in_use_or_with_errors_is_dirty() {
        for (state, features, is_dirty) in [
            (1, 0x2c2, false),
            (0, 0x2c2, true),
            (3, 0x2c2, true),
            (1, 0x2c6, true),
        ] {
            let found = ext_state(&superblock(state, features)).unwrap();
            assert_eq!(found.is_dirty, is_dirty, "{state} {features:#x}");
        }
        assert_eq!(ext_state(&[0; 1024]), None);
        let good = superblock(1, 0);
        for len in 0..0x64 {
            assert_eq!(ext_state(&good[..len]), None, "{len}");
        }
    }

    #[test]
    fn a_sleeping_windows_is_told_from_one_that_was_woken_up() {
        for (first, expected) in [
            (&b"HIBR\0\0"[..], true),
            (b"hibr", true),
            (b"wake", false),
            (b"\0\0\0\0", false),
            (b"hib", false),
            (b"", false),
        ] {
            assert_eq!(is_hibernation(first), expected);
        }
    }
}
