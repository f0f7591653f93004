//! What the boot script told a machine: a client keeps its kernel arguments for as long as it runs,
//! whatever happens to its task meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

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
}

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

/// Newest first, at most [`Handouts::PER_HOST`] of each host.
#[derive(Debug, Clone, Default)]
pub struct Handouts(BTreeMap<HostId, Vec<Handout>>);

/// What is known of a machine's kernel arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// They are of this job, as far as can be known.
    ThisJob {
        /// Whether they were proved: by the ticket, or by the address that was told them.
        is_proved: bool,
    },
    /// They are of another job.
    OtherJob(Job),
}

impl Handouts {
    /// One machine asks from one address; more are machines with the same MAC, or strangers. Some
    /// 100 bytes each.
    pub const PER_HOST: usize = 4;

    /// Adds what was told; what the same machine was told before counts no more.
    pub fn insert(&mut self, handout: Handout) {
        let of_host = self.0.entry(handout.host).or_default();
        of_host.retain(|old| old.address != handout.address);
        of_host.insert(0, handout);
        of_host.truncate(Self::PER_HOST);
    }

    /// Forgets a host.
    pub fn remove(&mut self, host: HostId) {
        self.0.remove(&host);
    }

    /// The ticket that this machine was told for this job already: a boot loader asks again when an
    /// answer is late, and both answers must do.
    #[must_use]
    pub fn ticket(&self, host: HostId, address: IpAddr, job: Job) -> Option<Ticket> {
        let told = self.0.get(&host)?.iter();
        told.filter(|told| told.address == address && told.job == job)
            .find_map(|told| told.ticket)
    }

    /// What the kernel arguments of a machine are that asks for `job` of `host`.
    ///
    /// A ticket tells it for sure. A client without one (FOG's) is taken for the machine that was
    /// told something at its address, else for the one that was told something last. Another session
    /// with the same image and port is the same job: every argument is the same.
    #[must_use]
    pub fn origin(
        &self,
        host: HostId,
        address: IpAddr,
        ticket: Option<Ticket>,
        job: Job,
    ) -> Origin {
        let told = self.0.get(&host).map_or(&[][..], Vec::as_slice);
        if let Some(ticket) = ticket {
            return match told.iter().find(|told| told.ticket == Some(ticket)) {
                Some(told) if told.job == job => Origin::ThisJob { is_proved: true },
                Some(told) => Origin::OtherJob(told.job),
                // Of a job that is long over, or invented.
                None => told
                    .first()
                    .map_or(Origin::ThisJob { is_proved: false }, |told| {
                        Origin::OtherJob(told.job)
                    }),
            };
        }
        let here = told.iter().find(|told| told.address == address);
        match here.or_else(|| told.first()) {
            None => Origin::ThisJob { is_proved: false },
            Some(told) if is_same(told.job, job) => Origin::ThisJob {
                is_proved: here.is_some(),
            },
            Some(told) => Origin::OtherJob(told.job),
        }
    }
}

fn is_same(told: Job, job: Job) -> bool {
    told == job || (told.image == job.image && told.port == job.port)
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

    #[test]
    fn a_client_keeps_the_job_that_it_booted_with() {
        let mut handouts = Handouts::default();
        let ask = |handouts: &Handouts, last, number| {
            handouts.origin(HOST, address(last), None, job(number))
        };
        let unknown = Origin::ThisJob { is_proved: false };
        assert_eq!(ask(&handouts, 2, 1), unknown, "booted by other means");
        handouts.insert(told(2, 1, 1));
        assert_eq!(ask(&handouts, 2, 1), Origin::ThisJob { is_proved: true });
        assert_eq!(ask(&handouts, 2, 2), Origin::OtherJob(job(1)));
        // The boot loader had another address.
        assert_eq!(ask(&handouts, 7, 2), Origin::OtherJob(job(1)));
        assert_eq!(ask(&handouts, 7, 1), unknown);
        handouts.insert(told(2, 2, 2));
        assert_eq!(ask(&handouts, 2, 2), Origin::ThisJob { is_proved: true });
        assert_eq!(ask(&handouts, 2, 1), Origin::OtherJob(job(2)));
    }

    #[test]
    fn a_ticket_names_its_job() {
        let mut handouts = Handouts::default();
        handouts.insert(told(2, 1, 1));
        handouts.insert(told(3, 1, 9));
        let ask = |handouts: &Handouts, ticket, number| {
            handouts.origin(HOST, address(2), Some(Ticket([ticket; 16])), job(number))
        };
        assert_eq!(ask(&handouts, 1, 1), Origin::ThisJob { is_proved: true });
        assert_eq!(ask(&handouts, 9, 1), Origin::ThisJob { is_proved: true });
        assert_eq!(ask(&handouts, 1, 2), Origin::OtherJob(job(1)));
        assert_eq!(ask(&handouts, 5, 1), Origin::OtherJob(job(1)), "invented");
    }

    #[test]
    fn the_same_question_has_the_same_ticket() {
        let mut handouts = Handouts::default();
        handouts.insert(told(2, 1, 1));
        assert_eq!(
            handouts.ticket(HOST, address(2), job(1)),
            Some(Ticket([1; 16]))
        );
        assert_eq!(handouts.ticket(HOST, address(3), job(1)), None);
        assert_eq!(handouts.ticket(HOST, address(2), job(2)), None);
    }

    #[test]
    fn a_host_is_told_few_things() {
        let mut handouts = Handouts::default();
        for last in 0..100 {
            handouts.insert(told(last, 1, last));
        }
        assert_eq!(handouts.0[&HOST].len(), Handouts::PER_HOST);
    }
}
