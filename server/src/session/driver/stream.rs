//! The sender of the present stream: opened, watched, heard.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Driver;
use crate::domain::session::core::{Movement, StopKind};
use crate::imagestore::{Gate, Source};
use crate::logs::Level;
use crate::sender::{self, SenderEvent, SharedCounters, Transmission};
use crate::session::rate::Rate;

pub(super) struct OpenStream {
    pub(super) index: usize,
    pub(super) gate: Gate,
    bytes_read: Arc<AtomicU64>,
    pub(super) transmission: Box<dyn Transmission>,
}

/// A stream that could not be opened so far.
pub(super) struct Opening {
    index: usize,
    pub(super) since: Instant,
    /// The last time.
    tried: Instant,
    /// Why.
    pub(super) text: String,
}

impl OpenStream {
    pub(super) fn end(self, kind: StopKind) {
        // The gate is closed after it: a source that fails is no reason of its own then.
        self.transmission.stop(kind);
    }
}

impl Drop for OpenStream {
    /// A source that is held back still, by whatever end of its driver, would hold its thread for ever.
    fn drop(&mut self) {
        self.gate.close();
    }
}

impl Driver {
    /// A stream may only be ended early if it cannot look whole then.
    pub(super) fn possible(&self, kind: StopKind) -> StopKind {
        match &self.open {
            Some(open) if self.tells_its_length(open.index) => kind,
            _ => StopKind::Plain,
        }
    }

    fn tells_its_length(&self, index: usize) -> bool {
        let stream = self.facts.streams.get(index);
        stream.is_some_and(|stream| stream.image.format.tells_its_length())
    }

    pub(super) fn open_stream(&mut self, index: usize) {
        let gate = Gate::default();
        let dir = self.around.config.images.join(&self.head.path);
        let opened = match Source::new(&dir, &self.facts, index, gate.clone()) {
            Ok(source) => self.try_open(index, gate, source),
            // It will be no other one later.
            Err(error) => {
                let text = readable::chain(&error);
                self.core.sender_failed(Instant::now(), &text);
                return;
            }
        };
        match opened {
            Ok(()) => {
                let now = Instant::now();
                match &mut self.opening {
                    Some(opening) => opening.tried = now,
                    None if index == 0 => {
                        self.log(&format!("sending on base port {}", self.head.port));
                    }
                    None => {}
                }
            }
            Err(error) => self.not_opened(index, readable::chain(error.as_ref())),
        }
    }

    /// The network may come up after the server: a stream that cannot be opened is tried again for as
    /// long as its hosts would be waited for.
    fn not_opened(&mut self, index: usize, text: String) {
        let now = Instant::now();
        let since = self.opening.as_ref().map_or(now, |opening| opening.since);
        if now.duration_since(since) >= self.core.open_wait() {
            self.opening = None;
            self.core.sender_failed(now, &text);
            self.answer_completions(now);
            return;
        }
        if self.opening.is_none() {
            let what = "the stream cannot be sent yet; it waits and tries again";
            self.log_at(Level::Warn, &format!("{what}: {text}"));
        }
        self.core.sender_waits(now);
        self.opening = Some(Opening {
            index,
            since,
            tried: now,
            text,
        });
        self.is_dirty = true;
    }

    pub(super) fn open_again(&mut self) {
        let now = Instant::now();
        let Some(opening) = &self.opening else {
            return;
        };
        let age = now.duration_since(opening.tried);
        if self.open.is_none() && age >= OPEN_RETRY {
            self.open_stream(opening.index);
        } else if self.open.is_some() && age >= OPEN_NEWS {
            self.has_opened(now);
        }
    }

    /// The hosts have the whole wait from here.
    fn has_opened(&mut self, now: Instant) {
        if self.opening.take().is_some() {
            self.core.sender_waits(now);
            self.log("the stream can be sent now");
            self.is_dirty = true;
        }
    }

    fn try_open(&mut self, index: usize, gate: Gate, source: Source) -> anyhow::Result<()> {
        let config = &self.around.config;
        let interface = match &self.interface {
            Some(interface) if self.opening.is_none() => interface.clone(),
            _ => {
                let first = self.core.addresses().first().copied();
                let client = first.unwrap_or(Ipv4Addr::UNSPECIFIED);
                config.interface_for(&*self.around.sender, client.into())?
            }
        };
        self.interface = Some(interface.clone());
        anyhow::ensure!(interface.is_up, "{interface} is down");
        let bytes_read = source.bytes_read();
        let job = sender::StreamJob {
            index,
            port: self.head.port,
            interface,
            source,
            admitted: self.core.addresses(),
            silence_limit: config.timing.drop_agents.max(config.timing.drop_others),
            disk_limit: config.timing.disk_limit,
            tells_its_length: self.tells_its_length(index),
            max_bitrate: config.max_bitrate,
            group: self.head.group,
            duplex: self.head.duplex,
            slow: config.slow.into(),
        };
        self.counters = SharedCounters::default();
        self.rate = Rate::default();
        self.slow.clear();
        let events = self.events_in.clone();
        let counters = self.counters.clone();
        let transmission = self.around.sender.open(job, events, counters)?;
        self.open = Some(OpenStream {
            index,
            gate,
            bytes_read,
            transmission,
        });
        Ok(())
    }

    pub(super) fn sender_event(&mut self, index: usize, event: SenderEvent) {
        if self.open.as_ref().is_none_or(|open| open.index != index) {
            // A sender that was stopped says its last words.
            return;
        }
        let now = Instant::now();
        match event {
            SenderEvent::Joined(address) => {
                self.detail(&format!("New connection from {address}"));
                self.has_opened(now);
                self.core.joined(now, address);
            }
            SenderEvent::Departed(address, departure) => {
                self.core.departed(now, address, departure);
            }
            SenderEvent::Started => self.core.transfer_started(now),
            SenderEvent::Ended(participants) => {
                self.open = None;
                self.core.stream_ended(now, &participants);
                self.answer_completions(now);
            }
            SenderEvent::Failed(text) => {
                self.open = None;
                self.core.sender_failed(now, &text);
                self.answer_completions(now);
            }
            SenderEvent::NotOpened(text) => {
                self.open = None;
                self.not_opened(index, text);
            }
            SenderEvent::Slow(slow) => {
                let timing = self.around.config.timing;
                let limit = match self.core.are_all_agents() {
                    true => timing.drop_agents,
                    false => timing.drop_others,
                };
                for receiver in &slow {
                    let (silent, acked) = (receiver.silent, receiver.has_acknowledged);
                    self.core.slow(now, receiver.address, silent, limit, acked);
                }
                self.core
                    .behind(slow.iter().map(|receiver| receiver.address));
                let new = slow
                    .iter()
                    .map(|receiver| (receiver.address, (now, receiver.silent)));
                self.slow = new.collect();
            }
            SenderEvent::Note(text) => self.detail(&text),
        }
        self.is_dirty = true;
    }

    pub(super) fn watch_stream(&mut self) {
        if let Some(open) = &self.open {
            let counters = self.counters.get();
            let movement = Movement {
                read: open.bytes_read.load(Ordering::Relaxed),
                sent: counters
                    .blocks_sent
                    .saturating_sub(counters.blocks_repeated),
                acked: counters.bytes_acked,
            };
            self.core.moved(Instant::now(), movement);
        }
    }
}

/// Between two times that it is tried to open a stream.
const OPEN_RETRY: Duration = Duration::from_secs(1);

/// A sender of which no trouble was heard for so long is open.
const OPEN_NEWS: Duration = Duration::from_secs(2);
