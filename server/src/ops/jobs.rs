//! What the boot script of a session tells each host, worked out once: clients ask hundreds of times a second.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::HostId;
use crate::domain::handout::Job;
use crate::domain::host::Host;

/// The last job of each registered host, some 150 bytes each.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<HashMap<HostId, Told>>);

/// What decides about a job besides what the server was started with.
#[derive(Debug)]
pub(super) struct Of<'a> {
    /// The host as it was read from the database: another one, if it was read anew.
    pub(super) host: &'a Arc<Host>,
    /// What belongs to the session alone.
    pub(super) session: Job,
    /// Whether the client is to change the computer name early.
    pub(super) is_name_changed_early: bool,
}

#[derive(Debug)]
struct Told {
    host: Arc<Host>,
    session: Job,
    is_name_changed_early: bool,
    job: Job,
}

impl Told {
    fn is(&self, of: &Of<'_>) -> bool {
        Arc::ptr_eq(&self.host, of.host)
            && self.session == of.session
            && self.is_name_changed_early == of.is_name_changed_early
    }
}

impl Jobs {
    /// The job of a host, worked out if it was not.
    pub(super) fn get(&self, of: &Of<'_>, work_out: impl FnOnce() -> Job) -> Job {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = jobs.entry(of.host.id);
        if let Entry::Occupied(told) = &entry
            && told.get().is(of)
        {
            return told.get().job;
        }
        let job = work_out();
        entry.insert_entry(Told {
            host: Arc::clone(of.host),
            session: of.session,
            is_name_changed_early: of.is_name_changed_early,
            job,
        });
        job
    }

    /// The hosts were read anew: some may be gone.
    pub(super) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::handout::Arguments;
    use crate::domain::{ImageId, SessionId};

    fn host(name: &str) -> Arc<Host> {
        Arc::new(Host {
            id: HostId(1),
            name: name.to_owned(),
            macs: Vec::new(),
            image: None,
            kernel_args: String::new(),
            device: String::new(),
            last_deploy: None,
        })
    }

    fn session(number: i64) -> Job {
        Job {
            session: SessionId(number),
            task: None,
            image: ImageId(1),
            port: 63100,
            arguments: Arguments(number),
        }
    }

    #[test]
    fn a_job_is_worked_out_again_when_anything_has_changed_that_decides() {
        let jobs = Jobs::default();
        let (old, new) = (host("pc-1"), host("pc-2"));
        let cases = [
            (&old, 1, false),
            (&new, 1, false),
            (&new, 2, false),
            (&new, 2, true),
            // Read anew: whatever is in it.
            (&host("pc-2"), 2, true),
        ];
        for (count, (host, number, is_name_changed_early)) in cases.into_iter().enumerate() {
            let of = Of {
                host,
                session: session(number),
                is_name_changed_early,
            };
            let told = Job {
                arguments: Arguments(i64::try_from(count).unwrap()),
                ..of.session
            };
            assert_eq!(jobs.get(&of, || told), told, "{count}");
            let again = || panic!("{count}: worked out twice");
            assert_eq!(jobs.get(&of, again), told);
        }
        jobs.clear();
        assert!(jobs.0.lock().unwrap().is_empty());
    }
}
