//! What the boot script told a machine: a client keeps its kernel arguments for as long as it runs,
//! whatever happens to its task meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use fog::args::KernelArgs;

use super::image::Image;
use super::{HostId, ImageId, SessionId, Timestamp};

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

/// What kernel arguments tell besides session, image and port, as a digest: a client keeps them although image,
/// host or settings are changed meanwhile. 0 stands for those that are not known: an older version told them,
/// or the image is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arguments(pub i64);

impl Arguments {
    /// Those of a session that sends this image.
    #[must_use]
    pub fn new(image: &Image, is_shutdown: bool) -> Self {
        Self::digest(&format!(
            "{} {} {} {} {is_shutdown}",
            image.path, image.image_type, image.os_id, image.format
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

/// Arguments of the administrator that change what is restored, from where, and to which disk. Others, as of
/// console and drivers, do not matter; what the boot script sets behind them neither.
const DECISIVE: [&str; 6] = [
    "fdrive",
    "imgLegacy",
    "mcastrdv",
    "mdraid",
    "shutdown",
    "storage",
];

/// The same without a value.
const DECISIVE_WORDS: [&str; 1] = ["nombr"];

/// A boot script that was handed out, or, for machines that boot by other means, the job that they
/// first checked in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handout {
    /// Whose job.
    pub host: HostId,
    /// Who asked.
    pub address: IpAddr,
    /// What it was told.
    pub job: Job,
    /// What only it was told; `None` if it checked in without a boot script of ours.
    pub ticket: Option<Ticket>,
    /// When.
    pub at: Timestamp,
}

impl Job {
    /// Whether a machine with the kernel arguments of `self` may take part in `other`: the same session, or
    /// another one that sends the same image on the same port, to be restored in the same way.
    #[must_use]
    pub fn is_good_for(&self, other: &Self) -> bool {
        let told = |job: &Self| (job.image, job.port, job.arguments);
        self.is_still(other) || told(self) == told(other)
    }

    /// Whether they are of the same session, to be restored in the same way.
    #[must_use]
    pub fn is_still(&self, other: &Self) -> bool {
        self.session == other.session && self.arguments.may_be(other.arguments)
    }
}

/// Newest first, at most [`Handouts::PER_HOST`] of each host.
#[derive(Debug, Clone, Default)]
pub struct Handouts(BTreeMap<HostId, Vec<Handout>>);

/// What is known of a machine's kernel arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was ever told for this host: it booted by other means.
    Unknown,
    /// It has a ticket that no machine was told for this host, or that is forgotten.
    UnknownTicket,
    /// They are of this job.
    Told {
        /// Which.
        job: Job,
        /// Whether that is sure: its boot script told it, and no other machine's did.
        is_proved: bool,
    },
}

/// Too many addresses have asked for boot scripts of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Handouts {
    /// One machine asks from one address, or two; more are machines with the same MAC, or strangers.
    /// What one was told is kept whatever others ask for, so there is an end to them. Some 100 bytes each.
    pub const PER_HOST: usize = 64;

    /// Seconds after which what a machine was told makes place for another one, and says nothing of
    /// machines at other addresses.
    pub const KEPT: u64 = 24 * 3600;

    /// Adds what was told; what the same machine was told before counts no more.
    ///
    /// # Errors
    /// If there is no place.
    pub fn insert(&mut self, handout: Handout) -> Result<(), TooMany> {
        self.check_place(&handout)?;
        self.remember(handout);
        Ok(())
    }

    /// Whether there is a place for what is to be told.
    ///
    /// # Errors
    /// If there is none.
    pub fn check_place(&self, handout: &Handout) -> Result<(), TooMany> {
        let of_host = self.0.get(&handout.host).map_or(&[][..], Vec::as_slice);
        let others = of_host.iter().filter(|old| {
            old.address != handout.address && handout.at.seconds_since(old.at) < Self::KEPT
        });
        match others.count() >= Self::PER_HOST {
            true => Err(TooMany),
            false => Ok(()),
        }
    }

    /// Adds what was told, as the database does: if there is no place, the oldest goes.
    pub fn remember(&mut self, handout: Handout) {
        let of_host = self.0.entry(handout.host).or_default();
        of_host.retain(|old| old.address != handout.address);
        of_host.insert(0, handout);
        of_host.truncate(Self::PER_HOST);
    }

    /// Forgets a host.
    pub fn remove(&mut self, host: HostId) {
        self.0.remove(&host);
    }

    /// What the machine at this address was told last.
    #[must_use]
    pub fn at(&self, host: HostId, address: IpAddr) -> Option<Handout> {
        let mut told = self.0.get(&host)?.iter();
        told.find(|told| told.address == address).copied()
    }

    /// The ticket that this machine was told for this job already: a boot loader asks again when an
    /// answer is late, and both answers must do.
    #[must_use]
    pub fn ticket(&self, host: HostId, address: IpAddr, job: Job) -> Option<Ticket> {
        let told = self.0.get(&host)?.iter();
        told.filter(|told| told.address == address && told.job == job)
            .find_map(|told| told.ticket)
    }

    /// What job the kernel arguments of a machine are of that asks for `job` of `host`.
    ///
    /// A ticket tells it for sure, and one that is not known tells that it is of no job. A client without one (FOG's) is taken for the machine that was told
    /// something at its address. If nothing was told there (the boot loader had another address),
    /// it may be any of the machines that were told something: it is good for `job` if all are.
    #[must_use]
    pub fn origin(
        &self,
        host: HostId,
        address: IpAddr,
        ticket: Option<Ticket>,
        job: Job,
    ) -> Origin {
        let told = self.0.get(&host).map_or(&[][..], Vec::as_slice);
        let own = match ticket {
            Some(_) => told.iter().find(|told| told.ticket == ticket),
            None => told.iter().find(|told| told.address == address),
        };
        if let Some(own) = own {
            // What a machine without a ticket checked in for says nothing of others.
            let is_rival = |other: &Handout| {
                let is_same = other.job.session == own.job.session;
                is_same && other.ticket.is_some() && other.ticket != own.ticket
            };
            return Origin::Told {
                job: own.job,
                is_proved: own.ticket.is_some() && !told.iter().any(is_rival),
            };
        }
        if ticket.is_some() {
            return Origin::UnknownTicket;
        }
        let Some(newest) = told.first() else {
            return Origin::Unknown;
        };
        let is_recent = |old: &&Handout| newest.at.seconds_since(old.at) < Self::KEPT;
        let mut recent = told.iter().filter(is_recent);
        let other = recent.find(|told| !told.job.is_good_for(&job));
        Origin::Told {
            job: other.map_or(newest.job, |told| told.job),
            is_proved: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn job(number: i64) -> Job {
        Job {
            session: SessionId(number),
            image: ImageId(number),
            port: 63100,
            arguments: Arguments::default(),
        }
    }

    fn told(last: u8, number: i64, ticket: u8) -> Handout {
        Handout {
            host: HOST,
            address: address(last),
            job: job(number),
            ticket: Some(Ticket([ticket; 16])),
            at: Timestamp(0),
        }
    }

    const HOST: HostId = HostId(1);

    #[test]
    fn tickets_are_hexadecimal() {
        let ticket = Ticket([0xa5; 16]);
        assert_eq!(Ticket::parse(&ticket.to_string()), Some(ticket));
        assert_eq!(format!("{ticket:?}"), "Ticket(..)");
        for text in ["", "a5", &"g".repeat(32), &"a".repeat(33), &"é".repeat(16)] {
            assert_eq!(Ticket::parse(text), None, "{text}");
        }
    }

    fn proved(number: i64) -> Origin {
        Origin::Told {
            job: job(number),
            is_proved: true,
        }
    }

    fn told_job(number: i64) -> Origin {
        Origin::Told {
            job: job(number),
            is_proved: false,
        }
    }

    #[test]
    fn a_client_keeps_the_job_that_it_booted_with() {
        let mut handouts = Handouts::default();
        let ask = |handouts: &Handouts, last, number| {
            handouts.origin(HOST, address(last), None, job(number))
        };
        assert_eq!(ask(&handouts, 2, 1), Origin::Unknown);
        handouts.insert(told(2, 1, 1)).unwrap();
        assert_eq!(ask(&handouts, 2, 1), proved(1));
        assert_eq!(ask(&handouts, 2, 2), proved(1));
        // The boot loader had another address.
        assert_eq!(ask(&handouts, 7, 2), told_job(1));
        assert_eq!(ask(&handouts, 7, 1), told_job(1));
        handouts.insert(told(2, 2, 2)).unwrap();
        assert_eq!(ask(&handouts, 2, 2), proved(2));
        assert_eq!(ask(&handouts, 2, 1), proved(2));
    }

    #[test]
    fn what_others_are_told_hides_no_old_job() {
        let mut handouts = Handouts::default();
        handouts.insert(told(2, 1, 1)).unwrap();
        for last in 10..200 {
            // There is an end to strangers.
            let has_place = handouts.insert(told(last, 2, last)).is_ok();
            assert_eq!(has_place, usize::from(last) - 10 + 1 < Handouts::PER_HOST);
        }
        let origin = |last| handouts.origin(HOST, address(last), None, job(2));
        assert_eq!(origin(2), proved(1), "still of the old job");
        assert_eq!(origin(9), told_job(1), "perhaps of the old job");
        assert_eq!(origin(10), told_job(2), "one of many");
        // A day later there is place again.
        let mut later = told(3, 3, 3);
        later.at = Timestamp(i64::try_from(Handouts::KEPT).unwrap());
        handouts.insert(later).unwrap();
        assert_eq!(handouts.origin(HOST, address(9), None, job(3)), told_job(3));
    }

    #[test]
    fn a_ticket_names_its_job() {
        let mut handouts = Handouts::default();
        handouts.insert(told(2, 1, 1)).unwrap();
        let ask = |handouts: &Handouts, ticket, number| {
            handouts.origin(HOST, address(2), Some(Ticket([ticket; 16])), job(number))
        };
        assert_eq!(ask(&handouts, 1, 1), proved(1));
        assert_eq!(ask(&handouts, 1, 2), proved(1));
        handouts.insert(told(3, 1, 9)).unwrap();
        assert_eq!(ask(&handouts, 1, 1), told_job(1), "two have it");
        assert_eq!(ask(&handouts, 5, 2), Origin::UnknownTicket, "invented");
        assert_eq!(
            ask(&Handouts::default(), 5, 2),
            Origin::UnknownTicket,
            "forgotten"
        );
    }

    #[test]
    fn who_has_no_ticket_proves_nothing() {
        let mut handouts = Handouts::default();
        handouts.insert(told(2, 1, 1)).unwrap();
        // A stranger checked in for the same job.
        let stranger = Handout {
            ticket: None,
            ..told(66, 1, 0)
        };
        handouts.insert(stranger).unwrap();
        let ask = |last, ticket| handouts.origin(HOST, address(last), ticket, job(1));
        assert_eq!(ask(66, None), told_job(1));
        for ticket in [None, Some(Ticket([1; 16]))] {
            assert_eq!(ask(2, ticket), proved(1));
        }
        // Nor does the machine's own check-in with another address than its boot loader had.
        handouts.insert(told(3, 1, 1)).unwrap();
        let own = handouts.origin(HOST, address(3), Some(Ticket([1; 16])), job(1));
        assert_eq!(own, proved(1));
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
            "quiet console=tty0 loglevel=7 storage=10.0.0.5:/images/ fdrive=/dev/sda hostname=other",
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

    #[test]
    fn the_same_question_has_the_same_ticket() {
        let mut handouts = Handouts::default();
        handouts.insert(told(2, 1, 1)).unwrap();
        assert_eq!(
            handouts.ticket(HOST, address(2), job(1)),
            Some(Ticket([1; 16]))
        );
        assert_eq!(handouts.ticket(HOST, address(3), job(1)), None);
        assert_eq!(handouts.ticket(HOST, address(2), job(2)), None);
        let changed = Job {
            arguments: Arguments(7),
            ..job(1)
        };
        assert_eq!(handouts.ticket(HOST, address(2), changed), None);
    }
}
