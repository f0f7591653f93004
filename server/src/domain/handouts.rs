//! Everything that is remembered of what machines were told, by their MAC addresses: a client keeps its kernel
//! arguments, whatever becomes of its task, its session or the name of its host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fog::Mac;

use super::handout::{Job, Ticket};
use super::node::MAX_NODES;
use super::reason::BrokenRow;
use super::{HostId, Timestamp};

/// A boot script that was handed out, or, for machines that booted by other means or whose boot loader had
/// another address, the job that they checked in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handout {
    /// Where the machine was; `None` if that is forgotten, and only the job is still known.
    pub address: Option<IpAddr>,
    /// What it was told.
    pub job: Job,
    /// What only it was told; `None` if it checked in without a boot script of ours for this address.
    pub ticket: Option<Ticket>,
    /// When.
    pub at: Timestamp,
    /// Number of the first row in a line of rows of which each took the place of the one before: the machine at
    /// this address is known since then.
    pub since: i64,
}

/// A row of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Number; grows.
    pub id: i64,
    /// Which machine.
    pub mac: Mac,
    /// Its host at that time.
    pub host: HostId,
    /// What it was told.
    pub handout: Handout,
}

/// A row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredRow {
    /// It makes sense.
    Told(Row),
    /// It does not: what the machine was told is not known.
    Unreadable {
        /// Number.
        id: i64,
        /// Which machine.
        mac: Mac,
        /// Where it was, if that can be read.
        address: Option<IpAddr>,
        /// What makes no sense.
        broken: Box<BrokenRow>,
    },
}

/// What the store is to change, at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Numbers of rows that go.
    pub drop: Vec<i64>,
    /// Rows that come.
    pub put: Vec<Row>,
}

/// What is to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// Whose job.
    pub host: HostId,
    /// Who asked.
    pub address: IpAddr,
    /// What it is told.
    pub job: Job,
    /// What only it is told; `None` for one that checks in.
    pub ticket: Option<Ticket>,
    /// When.
    pub at: Timestamp,
    /// The machine that has the host's place in a session: whatever others ask, it is not forgotten.
    pub holder: Option<Holder>,
}

/// The machine that has a host's place in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Where it is. Its boot loader may have had another address.
    pub address: IpAddr,
    /// Its ticket, if it has one.
    pub ticket: Option<Ticket>,
}

impl Holder {
    fn has(&self, entry: &Entry) -> bool {
        let ticket = entry.told().and_then(|told| told.ticket);
        entry.address() == Some(self.address) || (ticket.is_some() && ticket == self.ticket)
    }
}

/// What is known of a machine's kernel arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was ever told to a machine with this MAC: it booted by other means.
    Unknown,
    /// It has a ticket that no machine was told for this host, or that is forgotten.
    UnknownTicket,
    /// What it was told is stored in a row that makes no sense.
    Unreadable(Arc<BrokenRow>),
    /// They are of this job.
    Told {
        /// Which.
        job: Job,
        /// Whether that is sure: its boot script told it, and no other machine's did.
        is_proved: bool,
    },
}

/// Machines with one MAC were told too many different jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// The rows of each MAC address.
#[derive(Debug, Clone, Default)]
pub struct Handouts {
    of_mac: BTreeMap<Mac, Vec<Entry>>,
    last_id: i64,
    /// The number of this server, if others with the same store give numbers, too.
    server: Option<i64>,
    tick: Tick,
}

#[derive(Debug, Clone)]
struct Entry {
    id: i64,
    what: What,
    /// When this was told, for the last time; `None` if that was before the server's start.
    told_at: Option<Tick>,
    run: Run,
}

/// The order of what was heard and told since the server's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(u64);

/// When the machine of a row was heard: while it asks again and again it is not restarted, whoever asks for a
/// boot script meanwhile.
#[derive(Debug, Clone, Copy)]
struct Run {
    heard: (Instant, Tick),
    silence: Silence,
}

/// From when it was heard the last time before a restart that may have been, to the first time after it.
#[derive(Debug, Clone, Copy)]
struct Silence {
    after: Tick,
    until: Tick,
}

impl Silence {
    fn has(self, entry: &Entry) -> bool {
        entry
            .told_at
            .is_some_and(|at| self.after < at && at <= self.until)
    }

    /// Whether the machine may run what was told: it did not go on asking meanwhile. What was told before the
    /// server's start may be of any time.
    fn allows(self, entry: &Entry) -> bool {
        entry.address().is_none() || entry.told_at.is_none_or(|at| at <= self.until)
    }
}

impl Run {
    fn new(now: Instant, tick: Tick) -> Self {
        let silence = Silence {
            after: tick,
            until: tick,
        };
        Self {
            heard: (now, tick),
            silence,
        }
    }

    /// The silence that is not over.
    fn silent_since(&self) -> Silence {
        Silence {
            after: self.heard.1,
            until: Tick(u64::MAX),
        }
    }

    fn heard(&mut self, now: Instant, tick: Tick, restart_takes: Duration) {
        let (at, after) = self.heard;
        if now.duration_since(at) >= restart_takes {
            self.silence = Silence { after, until: tick };
        }
        self.heard = (now, tick);
    }
}

#[derive(Debug, Clone)]
enum What {
    Told(Handout),
    Unreadable {
        address: Option<IpAddr>,
        broken: Arc<BrokenRow>,
    },
}

impl Handouts {
    /// One machine asks from one address, or two; more are machines with the same MAC, or strangers. The
    /// addresses of so many are known, and as many jobs of others; some 200 bytes each.
    pub const PER_MAC: usize = 64;

    /// Seconds after which what a machine was told says nothing of machines at other addresses.
    pub const KEPT: u64 = 24 * 3600;

    /// What is stored when the server starts.
    #[must_use]
    pub fn new(rows: Vec<StoredRow>, now: Instant) -> Self {
        let mut handouts = Self::default();
        for row in rows {
            match row {
                StoredRow::Told(row) => handouts.put(&row, now),
                StoredRow::Unreadable {
                    id,
                    mac,
                    address,
                    broken,
                } => {
                    let broken = Arc::from(broken);
                    handouts.push(mac, id, What::Unreadable { address, broken }, now);
                }
            }
        }
        for entry in handouts.of_mac.values_mut().flatten() {
            entry.told_at = None;
            entry.run = Run::new(now, handouts.tick);
        }
        handouts
    }

    /// The same of the server with this number: it gives numbers that no other one gives.
    #[must_use]
    pub fn of_server(mut self, number: Option<i64>) -> Self {
        self.server = number;
        self
    }

    /// The next number after this one.
    fn after(&self, id: i64) -> i64 {
        match self.server {
            Some(number) => (id / MAX_NODES + 1) * MAX_NODES + number,
            None => id + 1,
        }
    }

    /// What is stored now: other servers have stored something since it was read. What is known of the machines
    /// besides stays.
    pub fn merge(&mut self, rows: Vec<StoredRow>, now: Instant) {
        let server = self.server;
        let stored = Self::new(rows, now).of_server(server);
        let former = std::mem::replace(self, stored);
        self.last_id = self.last_id.max(former.last_id);
        self.tick = self.tick.max(former.tick);
        for (mac, entries) in &mut self.of_mac {
            let known = former.of_mac.get(mac).map_or(&[][..], Vec::as_slice);
            for entry in entries {
                if let Some(known) = known.iter().find(|known| known.id == entry.id) {
                    *entry = known.clone();
                }
            }
        }
    }

    fn put(&mut self, row: &Row, now: Instant) {
        self.push(row.mac, row.id, What::Told(row.handout), now);
    }

    fn push(&mut self, mac: Mac, id: i64, what: What, now: Instant) {
        self.last_id = self.last_id.max(id);
        let tick = self.next();
        let entries = self.of_mac.entry(mac).or_default();
        entries.push(Entry {
            id,
            what,
            told_at: Some(tick),
            run: Run::new(now, tick),
        });
    }

    fn next(&mut self) -> Tick {
        self.tick.0 = self.tick.0.saturating_add(1);
        self.tick
    }

    /// A machine is heard: tell it at each check-in. A restart takes at least so long from the last time before it
    /// to the first one after it.
    pub fn heard(&mut self, macs: &[Mac], address: IpAddr, now: Instant, restart_takes: Duration) {
        let tick = self.next();
        self.each_at(macs, address, |entry| {
            entry.run.heard(now, tick, restart_takes);
        });
    }

    /// A machine that was heard is still there: its question was held back, or it reports.
    pub fn still_there(&mut self, macs: &[Mac], address: IpAddr, now: Instant) {
        self.each_at(macs, address, |entry| entry.run.heard.0 = now);
    }

    /// The boot loader at this address is told the same once more.
    pub fn told_again(&mut self, macs: &[Mac], address: IpAddr) {
        let tick = self.next();
        self.each_at(macs, address, |entry| entry.told_at = Some(tick));
    }

    fn each_at(&mut self, macs: &[Mac], address: IpAddr, mut change: impl FnMut(&mut Entry)) {
        let macs: BTreeSet<&Mac> = macs.iter().collect();
        for mac in macs {
            let entries = self.of_mac.get_mut(mac).into_iter().flatten();
            entries
                .filter(|entry| entry.address() == Some(address))
                .for_each(&mut change);
        }
    }

    /// What has to be stored to remember this of a machine that has all of these addresses. What the machine at
    /// the same place was told before counts no more. If there is no place, one goes of those that were told what
    /// most others were told, the last comers first: that they were told it stays known.
    ///
    /// # Errors
    /// If there is no place.
    pub fn remember(&self, macs: &[Mac], news: News) -> Result<Change, TooMany> {
        let mut change = Change::default();
        let mut id = self.last_id;
        for mac in macs {
            let entries = self.of_mac.get(mac).map_or(&[][..], Vec::as_slice);
            let (same, others): (Vec<&Entry>, Vec<&Entry>) = entries
                .iter()
                .partition(|entry| entry.address() == Some(news.address));
            change.drop.extend(same.iter().map(|entry| entry.id));
            let addressed = others.iter().filter(|entry| entry.address().is_some());
            if addressed.count() >= Self::PER_MAC {
                let (dropped, marker) = make_place(&others, news)?;
                id = self.after(id);
                change.drop.extend(dropped);
                change.put.push(Row {
                    id,
                    mac: *mac,
                    host: news.host,
                    handout: marker,
                });
            }
            id = self.after(id);
            let known = same.iter().filter_map(|entry| entry.told());
            change.put.push(Row {
                id,
                mac: *mac,
                host: news.host,
                handout: Handout {
                    address: Some(news.address),
                    job: news.job,
                    ticket: news.ticket,
                    at: news.at,
                    since: known.map(|told| told.since).min().unwrap_or(id),
                },
            });
        }
        Ok(change)
    }

    /// Whether remembering something of one more machine may drop what another one was told.
    #[must_use]
    pub fn is_crowded(&self, macs: &[Mac]) -> bool {
        let of_mac = macs.iter().filter_map(|mac| self.of_mac.get(mac));
        of_mac.into_iter().any(|entries| {
            let addressed = entries.iter().filter(|entry| entry.address().is_some());
            addressed.count() >= Self::PER_MAC
        })
    }

    /// What has to be stored to forget what machines with these addresses were told, but for the one that has
    /// the host's place.
    #[must_use]
    pub fn forget(&self, macs: &[Mac], holder: Option<Holder>) -> Change {
        let entries = self.entries(macs).into_iter();
        let others = entries.filter(|entry| !holder.is_some_and(|holder| holder.has(entry)));
        Change {
            drop: others.map(|entry| entry.id).collect(),
            put: Vec::new(),
        }
    }

    /// Carries out what was stored.
    pub fn apply(&mut self, change: &Change, now: Instant) {
        for entries in self.of_mac.values_mut() {
            entries.retain(|entry| !change.drop.contains(&entry.id));
        }
        self.of_mac.retain(|_, entries| !entries.is_empty());
        change.put.iter().for_each(|row| self.put(row, now));
    }

    /// Those of a machine with these addresses, newest first.
    fn entries(&self, macs: &[Mac]) -> Vec<&Entry> {
        let mut macs = macs.to_vec();
        macs.sort_unstable();
        macs.dedup();
        let of_mac = macs.iter().filter_map(|mac| self.of_mac.get(mac));
        let mut found: Vec<&Entry> = of_mac.flatten().collect();
        found.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.id));
        found
    }

    /// What the machine at this address was told last.
    #[must_use]
    pub fn at(&self, macs: &[Mac], address: IpAddr) -> Option<Handout> {
        let entries = self.entries(macs);
        let mut told = entries.iter().filter_map(|entry| entry.told());
        told.find(|told| told.address == Some(address)).copied()
    }

    /// The ticket that this machine was told for this job already: a boot loader asks again when an
    /// answer is late, and both answers must do.
    #[must_use]
    pub fn ticket(&self, macs: &[Mac], address: IpAddr, job: Job) -> Option<Ticket> {
        let told = self.at(macs, address)?;
        told.ticket.filter(|_| told.job == job)
    }

    /// What job the kernel arguments of a machine are of that asks for `job`.
    ///
    /// A ticket tells it for sure, and one that is not known tells that it is of no job. A client without one
    /// (FOG's) is taken for the machine that was told something at its address. If it only checked in there, its
    /// boot loader had another address, or it booted by other means. It was restarted since if each boot loader
    /// that it may come from was told something newer, and one of them while it was silent. If nothing is known of
    /// its address, it may be any of the machines that were told something: it is good for `job` if all are.
    #[must_use]
    pub fn origin(
        &self,
        macs: &[Mac],
        address: IpAddr,
        ticket: Option<Ticket>,
        job: Job,
    ) -> Origin {
        let entries = self.entries(macs);
        if ticket.is_some() {
            let mut told = entries
                .iter()
                .filter_map(|entry| Some((entry.id, entry.told()?)));
            let own = told.find(|(_, told)| told.ticket == ticket);
            return own.map_or(Origin::UnknownTicket, |(id, own)| script(&entries, id, own));
        }
        let mut here = entries
            .iter()
            .filter(|entry| entry.address() == Some(address));
        let first = here.clone().next();
        if let Some(broken) = here.find_map(|entry| entry.broken()) {
            return Origin::Unreadable(broken);
        }
        if let Some((entry, own)) = first.and_then(|entry| Some((entry, entry.told()?))) {
            return match own.ticket {
                Some(_) => script(&entries, entry.id, own),
                None => Origin::Told {
                    job: without_ticket(&entries, entry, own, entry.run.silence, job),
                    is_proved: false,
                },
            };
        }
        any_of(&entries, job)
    }
}

/// A machine has the boot script that was handed out as `own`, row `id`.
fn script(entries: &[&Entry], id: i64, own: &Handout) -> Origin {
    let is_rival = |entry: &&Entry| {
        let Some(other) = entry.told() else {
            return false;
        };
        // What a machine without a ticket checks in for says nothing of others, unless it was there before: then
        // the boot script is no restart of it.
        let is_check_in = other.ticket.is_none() && other.address.is_some();
        let is_before = entry.id < id && other.address != own.address;
        other.job.is_same_task(&own.job)
            && other.ticket != own.ticket
            && (!is_check_in || is_before)
    };
    Origin::Told {
        job: own.job,
        is_proved: !entries.iter().any(is_rival),
    }
}

/// The job of the kernel arguments of a machine that checked in as `own`, without a ticket: that of its check-in,
/// or, if it was restarted in this silence, what its boot loader was told. One that is not good for `wanted` if
/// it may be several.
fn without_ticket(
    entries: &[&Entry],
    own: &Entry,
    checked_in: &Handout,
    silence: Silence,
    wanted: Job,
) -> Job {
    let newest = newest(entries).unwrap_or(checked_in);
    let mut is_restarted = entries.iter().all(|entry| entry.broken().is_none());
    let mut has_source = false;
    let (mut since, mut possible) = (Vec::new(), vec![checked_in.job]);
    for entry in entries {
        let Some(told) = entry.told().filter(|told| is_recent(newest, told)) else {
            continue;
        };
        if told.ticket.is_none() && told.address.is_some() {
            continue;
        }
        // It may come from those that were told something before it checked in.
        let is_source = told.since < own.id;
        if entry.id < own.id || told.address.is_none() {
            is_restarted &= !is_source;
        } else if is_source || silence.has(entry) {
            has_source |= is_source && silence.has(entry);
            since.push(told.job);
        }
        if entry.id > own.id && silence.allows(entry) {
            possible.push(told.job);
        }
    }
    let jobs = match is_restarted && has_source {
        true => since,
        false => possible,
    };
    let other = jobs.iter().find(|job| !job.is_good_for(&wanted));
    *other.or_else(|| jobs.first()).unwrap_or(&checked_in.job)
}

/// A machine at an address of which nothing is known.
fn any_of(entries: &[&Entry], wanted: Job) -> Origin {
    if let Some(broken) = entries.iter().find_map(|entry| entry.broken()) {
        return Origin::Unreadable(broken);
    }
    let Some(newest) = newest(entries) else {
        return Origin::Unknown;
    };
    let job_of = |entry: &&Entry| {
        let told = entry.told().filter(|told| is_recent(newest, told))?;
        let is_check_in = told.ticket.is_none() && told.address.is_some();
        let silence = entry.run.silent_since();
        Some(match is_check_in {
            true => without_ticket(entries, entry, told, silence, wanted),
            false => told.job,
        })
    };
    let mut jobs = entries.iter().filter_map(job_of);
    let other = jobs.find(|job| !job.is_good_for(&wanted));
    Origin::Told {
        job: other.unwrap_or(newest.job),
        is_proved: false,
    }
}

fn newest<'e>(entries: &[&'e Entry]) -> Option<&'e Handout> {
    entries.iter().find_map(|entry| entry.told())
}

fn is_recent(newest: &Handout, old: &Handout) -> bool {
    newest.at.seconds_since(old.at) < Handouts::KEPT
}

/// Numbers of the rows that go, and what stays known of them.
fn make_place(others: &[&Entry], news: News) -> Result<(Vec<i64>, Handout), TooMany> {
    let told = |entry: &&Entry| entry.told().map(|told| (entry.id, *told));
    let (known, markers): (Vec<_>, Vec<_>) = others
        .iter()
        .filter_map(told)
        .partition(|(_, told)| told.address.is_some());
    let alike = |job: Job| known.iter().filter(|(_, told)| told.job == job).count();
    // A machine that was let in is hardly one of many strangers, nor is one that was here before them. One that
    // asked just now has a while to check in.
    let mut ids: Vec<i64> = known.iter().map(|(id, _)| *id).collect();
    let mut firsts: Vec<i64> = known.iter().map(|(_, told)| told.since).collect();
    ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
    firsts.sort_unstable();
    let newest = ids.get(Handouts::PER_MAC / 4);
    let first = firsts.get(Handouts::PER_MAC / 2);
    let is_spared = |(id, told): &(i64, Handout)| {
        told.ticket.is_none()
            || newest.is_none_or(|limit| id > limit)
            || first.is_none_or(|limit| told.since < *limit)
    };
    let rank = |found: &(i64, Handout)| (is_spared(found), -found.1.since);
    let held: Vec<i64> = others
        .iter()
        .filter(|entry| news.holder.is_some_and(|holder| holder.has(entry)))
        .map(|entry| entry.id)
        .collect();
    let mut known_others: Vec<_> = known.iter().filter(|(id, _)| !held.contains(id)).collect();
    known_others.sort_unstable_by_key(|found| rank(found));
    let mut most = 1;
    let mut goes = None;
    for (id, told) in &known_others {
        let count = alike(told.job);
        if count > most {
            (most, goes) = (count, Some((*id, *told)));
        }
    }
    let is_old = |told: &Handout| news.at.seconds_since(told.at) >= Handouts::KEPT;
    let aged = known_others.iter().filter(|(_, told)| is_old(told));
    let oldest = aged.min_by_key(|(id, _)| *id);
    let goes = goes.or_else(|| oldest.map(|found| **found));
    let (id, told) = goes.ok_or(TooMany)?;
    let mut dropped = vec![id];
    let same = markers.iter().find(|(_, marker)| marker.job == told.job);
    match same {
        Some((id, _)) => dropped.push(*id),
        None if markers.len() >= Handouts::PER_MAC => {
            let oldest = markers.iter().min_by_key(|(id, _)| *id);
            let (id, _) = oldest.filter(|(_, old)| is_old(old)).ok_or(TooMany)?;
            dropped.push(*id);
        }
        None => {}
    }
    let since = same.map_or(told.since, |(_, marker)| marker.since.min(told.since));
    let marker = Handout {
        address: None,
        ticket: None,
        at: news.at,
        since,
        ..told
    };
    Ok((dropped, marker))
}

impl Entry {
    fn told(&self) -> Option<&Handout> {
        match &self.what {
            What::Told(told) => Some(told),
            What::Unreadable { .. } => None,
        }
    }

    fn broken(&self) -> Option<Arc<BrokenRow>> {
        match &self.what {
            What::Told(_) => None,
            What::Unreadable { broken, .. } => Some(Arc::clone(broken)),
        }
    }

    fn address(&self) -> Option<IpAddr> {
        match &self.what {
            What::Told(told) => told.address,
            What::Unreadable { address, .. } => *address,
        }
    }
}

#[cfg(test)]
mod tests;
