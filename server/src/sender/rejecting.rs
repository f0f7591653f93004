//! A rendezvous that rejects everybody, where a session has ended: FOG's clients have no time-out.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cast_net::udpcast::sender::StartRule;
use cast_net::{Interface, SendControl, SendError, SendOptions, SocketError};

use super::udpcast::{PORT_RETRY, TTL, start_rule};

/// All of them by base port: each a thread and its sockets.
#[derive(Debug, Clone, Default)]
pub(super) struct Rejecting(Arc<Mutex<HashMap<u16, Arc<SendControl>>>>);

impl Rejecting {
    fn ports(&self) -> MutexGuard<'_, HashMap<u16, Arc<SendControl>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is one.
    pub(super) fn is_at(&self, port: u16) -> bool {
        self.ports().contains_key(&port)
    }

    /// Ends one, if there is one; its port is closed in a moment.
    pub(super) fn end(&self, port: u16) {
        if let Some(control) = self.ports().remove(&port) {
            control.stop();
        }
    }

    /// Begins one, for so long.
    pub(super) fn begin(&self, interface: Interface, base: u16, limit: Duration) {
        let control = match SendControl::new() {
            Ok(control) => Arc::new(control),
            Err(error) => {
                tracing::warn!("rejecting receivers that come too late: {error}");
                return;
            }
        };
        self.end(base);
        self.ports().insert(base, Arc::clone(&control));
        let rejecting = self.clone();
        let mut options = SendOptions::new(interface);
        options.port_base = base;
        options.ttl = TTL;
        options.transfer.start = StartRule {
            start_timeout: Some(limit),
            // Nobody has it, and somebody has to be expected.
            ..start_rule(vec![Ipv4Addr::UNSPECIFIED])
        };
        let started = thread::Builder::new()
            .name(format!("reject-{base}"))
            .spawn(move || rejecting.run(&options, limit, &control));
        if let Err(error) = started {
            self.end(base);
            tracing::warn!("rejecting receivers that come too late: {error}");
        }
    }

    fn run(&self, options: &SendOptions, limit: Duration, control: &Arc<SendControl>) {
        let port = options.port_base;
        let is_own = |other: &Arc<SendControl>| Arc::ptr_eq(other, control);
        let is_wanted = || self.ports().get(&port).is_some_and(is_own);
        let began = Instant::now();
        let sent = loop {
            let opened = cast_net::send::open(options.clone(), io::empty(), (**control).clone());
            let sent = opened.and_then(|mut stream| {
                while stream.next_event().is_some() {
                    // Each request would begin the wait again.
                    if began.elapsed() >= limit {
                        control.stop();
                    }
                }
                stream.finish()
            });
            match &sent {
                // The session's own sender closes it when its stream has ended early.
                Err(SendError::Socket(SocketError::InUse(_)))
                    if began.elapsed() < CLOSING && is_wanted() =>
                {
                    thread::sleep(PORT_RETRY);
                }
                _ => break sent,
            }
        };
        match sent {
            // Nobody is let in, so this is how it ends.
            Ok(_) | Err(SendError::Aborted { .. } | SendError::GaveUp { .. }) => {}
            Err(error) => tracing::warn!("rejecting receivers that come too late: {error}"),
        }
        let mut ports = self.ports();
        if ports.get(&port).is_some_and(is_own) {
            ports.remove(&port);
        }
    }
}

/// How long the sender of a session may need to end; an early end waits 10 s for its receivers.
const CLOSING: Duration = Duration::from_secs(20);
