//! What the boot script told a machine: a client keeps its kernel arguments for as long as it runs,
//! whatever happens to its task meanwhile.

use std::fmt;

use super::image::Image;
use super::{ImageId, SessionId};

/// A number that only the machine knows that got the boot script: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub [u8; 16]);

impl Ticket {
    /// Reads 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Not shown: whoever reads a log must not be able to act for a machine.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}

/// A job as kernel arguments tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Session.
    pub session: SessionId,
    /// Image.
    pub image: ImageId,
    /// Base port.
    pub port: u16,
    /// The other arguments by which a client restores and ends.
    pub arguments: Arguments,
}

/// What kernel arguments tell besides session, image and port, as a digest: a client keeps them although the
/// image is changed meanwhile. 0 stands for those that an older version told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arguments(pub i64);

impl Arguments {
    /// Those of a session that sends this image.
    #[must_use]
    pub fn new(image: &Image, is_shutdown: bool) -> Self {
        let text = format!(
            "{} {} {} {} {is_shutdown}",
            image.path, image.image_type, image.os_id, image.format
        );
        let mut digest = [0; 8];
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(text.as_bytes())
            .finalize_xof()
            .fill(&mut digest);
        Self(i64::from_le_bytes(digest))
    }
}

impl Job {
    /// Whether a machine with the kernel arguments of `self` may take part in `other`: another session
    /// that sends the same image on the same port, to be restored in the same way.
    #[must_use]
    pub fn is_good_for(&self, other: &Self) -> bool {
        let told = |job: &Self| (job.image, job.port, job.arguments);
        self.session == other.session || told(self) == told(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: i64) -> Job {
        Job {
            session: SessionId(number),
            image: ImageId(number),
            port: 63100,
            arguments: Arguments::default(),
        }
    }

    #[test]
    fn tickets_are_hexadecimal() {
        let ticket = Ticket([0xa5; 16]);
        assert_eq!(Ticket::parse(&ticket.to_string()), Some(ticket));
        assert_eq!(format!("{ticket:?}"), "Ticket(..)");
        for text in ["", "a5", &"g".repeat(32), &"a".repeat(33), &"é".repeat(16)] {
            assert_eq!(Ticket::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_job_is_good_for_another_one_that_is_restored_in_the_same_way() {
        let old = job(1);
        let new = Job {
            session: SessionId(2),
            ..old
        };
        assert!(old.is_good_for(&new));
        for other in [
            Job {
                image: ImageId(2),
                ..new
            },
            Job { port: 63102, ..new },
            Job {
                arguments: Arguments(7),
                ..new
            },
        ] {
            assert!(!old.is_good_for(&other), "{other:?}");
        }
    }
}
