//! What the boot script told a machine: a client keeps its kernel arguments for as long as it runs,
//! whatever happens to its task meanwhile.

use std::fmt;

use fog::args::KernelArgs;

use super::image::ImageSettings;
use super::{ImageId, SessionId, TaskId};

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
    /// Session; 0 for a machine that is deployed alone.
    pub session: SessionId,
    /// The task of a machine that is deployed alone.
    pub task: Option<TaskId>,
    /// Image.
    pub image: ImageId,
    /// Base port.
    pub port: u16,
    /// The other arguments by which a client restores and ends.
    pub arguments: Arguments,
}

/// What kernel arguments tell besides session, image and port, as a digest: a client keeps them although image,
/// host or settings are changed meanwhile. 0 stands for those that are not known: an older version told them,
/// or the image is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arguments(pub i64);

impl Arguments {
    /// Those of a session that sends this image.
    #[must_use]
    pub fn new(image: &ImageSettings, is_shutdown: bool) -> Self {
        Self::digest(&format!(
            "{} {} {} {} {is_shutdown}",
            image.path, image.image_type, image.os_id, image.format
        ))
    }

    /// Those of a capture into this image. Its format is that of its former files.
    #[must_use]
    pub fn capture(image: &ImageSettings, is_shutdown: bool) -> Self {
        Self::digest(&format!(
            "capture {} {} {} {is_shutdown}",
            image.path, image.image_type, image.os_id
        ))
    }

    /// Those that a host of this session is told: `line` has what belongs to the host and to the server.
    #[must_use]
    pub fn with(self, line: &KernelArgs) -> Self {
        if self == Self::default() {
            return self;
        }
        let mut text = self.0.to_string();
        for name in DECISIVE {
            text.push_str(&format!(" {name}={:?}", line.value(name)));
        }
        for word in DECISIVE_WORDS {
            text.push_str(&format!(" {word}={}", line.has_word(word)));
        }
        Self::digest(&text)
    }

    fn digest(text: &str) -> Self {
        let mut digest = [0; 8];
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(text.as_bytes())
            .finalize_xof()
            .fill(&mut digest);
        Self(i64::from_le_bytes(digest))
    }

    /// Whether they may be the same.
    fn may_be(self, other: Self) -> bool {
        self == other || [self, other].contains(&Self::default())
    }
}

/// Arguments that change what is restored, from where, to which disk, and under which name. Others, as of console
/// and drivers, do not matter.
const DECISIVE: [&str; 10] = [
    "fdrive",
    "hostearly",
    "hostname",
    "imgLegacy",
    "largesize",
    "mcastrdv",
    "mdraid",
    "shutdown",
    "smallsize",
    "storage",
];

/// The same without a value.
const DECISIVE_WORDS: [&str; 1] = ["nombr"];

impl Job {
    /// Whether a machine with the kernel arguments of `self` may take part in `other`: the same session, or
    /// another one that sends the same image on the same port, to be restored in the same way for sure.
    #[must_use]
    pub fn is_good_for(&self, other: &Self) -> bool {
        let told = |job: &Self| (job.image, job.port, job.arguments);
        let is_known = self.arguments != Arguments::default();
        self.is_still(other) || (is_known && told(self) == told(other))
    }

    /// Whether they are of the same session, to be restored in the same way.
    #[must_use]
    pub fn is_still(&self, other: &Self) -> bool {
        self.is_same_task(other) && self.arguments.may_be(other.arguments)
    }

    /// Whether they are of the same session, or of the same task of a machine alone.
    #[must_use]
    pub fn is_same_task(&self, other: &Self) -> bool {
        (self.session, self.task) == (other.session, other.task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: i64) -> Job {
        Job {
            session: SessionId(number),
            task: None,
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
        let old = Job {
            arguments: Arguments(1),
            ..job(1)
        };
        let new = Job {
            session: SessionId(2),
            ..old
        };
        assert!(old.is_good_for(&new));
        // What is not known of either is not the same.
        let unknown = |session| Job {
            session: SessionId(session),
            arguments: Arguments::default(),
            ..old
        };
        assert!(!unknown(1).is_good_for(&unknown(2)));
        assert!(unknown(1).is_good_for(&unknown(1)));
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

    #[test]
    fn a_machine_alone_is_told_of_its_task() {
        let alone = |task| Job {
            session: SessionId(0),
            task: Some(TaskId(task)),
            port: 0,
            arguments: Arguments(1),
            ..job(1)
        };
        assert!(alone(1).is_still(&alone(1)) && !alone(1).is_still(&alone(2)));
        // It restores the same in the same way.
        assert!(alone(1).is_good_for(&alone(2)));
        let multicast = Job {
            arguments: Arguments(1),
            ..job(1)
        };
        assert!(!alone(1).is_good_for(&multicast) && !multicast.is_good_for(&alone(1)));
    }

    #[test]
    fn a_job_is_another_one_if_anything_decisive_has_changed() {
        let session = Arguments(7);
        let with = |line: &str| session.with(&KernelArgs::parse(line));
        let told = with("console=ttyS0 fdrive=/dev/sda storage=10.0.0.5:/images/");
        let job = |arguments| Job {
            arguments,
            ..job(1)
        };
        for same in [
            "storage=10.0.0.5:/images/ fdrive=/dev/sda",
            "quiet console=tty0 loglevel=7 storage=10.0.0.5:/images/ fdrive=/dev/sda",
            "fdrive=/dev/sdb storage=10.0.0.5:/images/ fdrive=/dev/sda",
        ] {
            assert_eq!(with(same), told, "{same}");
        }
        for other in [
            "",
            "fdrive=/dev/sdb storage=10.0.0.5:/images/",
            "storage=10.0.0.5:/images/",
            "fdrive=/dev/sda storage=10.0.0.6:/images/",
            "fdrive=/dev/sda storage=10.0.0.5:/images/ nombr",
            "fdrive=/dev/sda storage=10.0.0.5:/images/ mdraid=true",
            "fdrive=/dev/sda storage=10.0.0.5:/images/ largesize=1",
            "fdrive=/dev/sda storage=10.0.0.5:/images/ smallsize=1",
            "fdrive=/dev/sda storage=10.0.0.5:/images/ hostname=other",
            "fdrive=/dev/sda storage=10.0.0.5:/images/ hostearly=1",
            "fdrive=/dev/sda storage=10.0.0.5:/images/ mcastrdv=10.0.0.9",
        ] {
            assert_ne!(with(other), told, "{other}");
            assert!(!job(told).is_good_for(&job(with(other))), "{other}");
        }
        assert_ne!(Arguments(8).with(&KernelArgs::default()), with(""));
        // What is not known is no contradiction.
        let unknown = Arguments::default().with(&KernelArgs::parse("fdrive=/dev/sda"));
        assert_eq!(unknown, Arguments::default());
        assert!(job(told).is_good_for(&job(unknown)));
        assert!(job(unknown).is_still(&job(told)));
    }
}
