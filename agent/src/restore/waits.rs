//! What `receive` waits for before its data comes, and a link that goes meanwhile, on standard error.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use cast_net::{Interface, ReceiveStatus};
use udpcast_cli::{Link, ReceiverWaits};

/// Shows them until dropped.
pub(super) struct Watching {
    _end: Sender<()>,
}

impl Watching {
    /// Without a thread for it the transfer goes on.
    pub(super) fn start(status: Arc<ReceiveStatus>, interface: &Interface) -> Self {
        let (end, ended) = mpsc::channel();
        let mut link = Link::of(interface);
        let mut waits = ReceiverWaits::default();
        let watch = move || {
            while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let now = Instant::now();
                let change = link.look(now);
                let wait = waits.look(&status.snapshot(), &link, now);
                for text in change.into_iter().chain(wait) {
                    super::tell(&mut io::stderr(), &text);
                }
            }
        };
        let thread = std::thread::Builder::new().name("waits".into());
        drop(thread.spawn(watch));
        Self { _end: end }
    }
}

const PERIOD: Duration = Duration::from_millis(250);
