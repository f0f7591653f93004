//! Causes. Their texts for people are in modules of their own.

mod advice;
mod seen;
mod sentence;

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcp::Reply;

use crate::evidence::{Address, Counters, Reach, WebAnswer};
use crate::firmware::{Boot, NoBoot};
use crate::health::Health;
pub(crate) use seen::{describe, list};

/// Why something does not work. `Display` is one sentence.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "what each one means is the sentence that it is shown as"
)]
pub enum Cause {
    NoCard,
    NoLink {
        card: String,
        mac: String,
    },
    UnsteadyLink {
        card: String,
        changes: u64,
        over: Option<Duration>,
    },
    SilentPort {
        card: String,
        sent: u64,
        control: u64,
        over: Duration,
    },
    HungCard {
        card: String,
        timeouts: u64,
        over: Duration,
    },
    LateAnswer {
        after: Duration,
        is_since_link: bool,
    },
    NoDhcp {
        card: String,
        awaited: Duration,
        own: Vec<Address>,
    },
    NoAddress {
        card: String,
        offers: Vec<Reply>,
    },
    SecondDhcp {
        offers: Vec<Reply>,
    },
    NoName {
        host: String,
        name_servers: Vec<String>,
        error: String,
    },
    NoRoute {
        to: Ipv4Addr,
        own: Vec<Address>,
    },
    WrongCard {
        to: Ipv4Addr,
        by: String,
        wanted: String,
    },
    NoServer {
        address: Ipv4Addr,
        card: String,
    },
    NoRouter {
        router: Ipv4Addr,
        address: Ipv4Addr,
        card: String,
    },
    NoWebServer {
        address: Ipv4Addr,
        port: u16,
    },
    WebBlocked {
        address: Ipv4Addr,
        port: u16,
        reach: Reach,
    },
    ServerSilent {
        address: Ipv4Addr,
        port: u16,
        router: Option<Ipv4Addr>,
    },
    Redirect {
        url: String,
        to: String,
    },
    ServerFails {
        url: String,
        status: u16,
    },
    NotFog {
        url: String,
        answer: WebAnswer,
    },
    NoStore {
        address: Ipv4Addr,
        reach: Reach,
    },
    NoSender {
        address: Ipv4Addr,
        port: u16,
    },
    RendezvousBlocked {
        address: Ipv4Addr,
        port: u16,
    },
    NotRouted {
        sender: Ipv4Addr,
        router: Ipv4Addr,
        own: Ipv4Addr,
        silence: Silence,
    },
    NoQuerier {
        silence: Silence,
    },
    Filtered {
        silence: Silence,
        querier: Ipv4Addr,
    },
    SmallOnly {
        requests: u64,
        over: Duration,
    },
    BlackHole {
        to: Ipv4Addr,
        tried: u32,
        passed: u32,
    },
    SmallMtu {
        card: String,
        mtu: u32,
    },
    HalfDuplex {
        card: String,
        speed: Option<u32>,
    },
    SlowLink {
        card: String,
        speed: u32,
    },
    CardErrors {
        card: String,
        counters: Counters,
        new: u64,
    },
    ClockOff {
        ahead: i64,
    },
    NoDisk,
    DiskGone {
        name: String,
    },
    DiskUnreadable {
        name: String,
        error: String,
    },
    DiskErrors {
        name: String,
        failed: u64,
        all: u64,
    },
    DiskFailing {
        name: String,
        health: Health,
    },
    SlowDisk {
        name: String,
        rate: f64,
        bytes: u64,
    },
    NoEfiPartition {
        disk: String,
    },
    NoBootEntry {
        disk: String,
        partition: u32,
        default: &'static str,
        /// Those that the firmware has, as it shows them.
        entries: Vec<String>,
    },
    LittleMemory {
        total: u64,
        available: u64,
    },
    MemoryErrors {
        errors: u64,
    },
    NoTestSender {
        address: Ipv4Addr,
        port: u16,
    },
    RequestsLost {
        address: Ipv4Addr,
        port: u16,
        over: Duration,
    },
    NoTestAnswer {
        address: Ipv4Addr,
        port: u16,
        over: Duration,
    },
    TestRefused {
        address: Ipv4Addr,
    },
    TestStoodStill {
        bytes: u64,
        over: Duration,
    },
    TestCut {
        bytes: u64,
    },
    ForeignStream {
        address: Ipv4Addr,
        port: u16,
    },
    TestDamaged {
        offset: u64,
    },
    TestFailed {
        error: String,
    },
    HighLoss {
        lost: u64,
        blocks: u64,
    },
    SlowTransfer {
        rate: f64,
        bytes: u64,
    },
    OwnWeb {
        url: String,
        error: String,
    },
    OtherCard {
        card: String,
        own: Ipv4Addr,
        asked: Vec<(Ipv4Addr, String)>,
    },
    NoReceiver {
        card: String,
        own: Ipv4Addr,
        port: u16,
        over: Duration,
    },
    FewReceivers {
        have: u64,
        wanted: u32,
        over: Duration,
    },
    GroupUnheard {
        receivers: Vec<Ipv4Addr>,
        group: Ipv4Addr,
    },
    LargeLost {
        receivers: Vec<Ipv4Addr>,
        len: u32,
    },
    ReceiversLeft {
        receivers: Vec<Ipv4Addr>,
    },
}

/// Multicast that does not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// On this card.
    pub card: String,
    /// Groups that were joined.
    pub groups: Vec<Ipv4Addr>,
    /// The port.
    pub port: u16,
    /// How long was listened.
    pub over: Duration,
}

impl Cause {
    /// Why the firmware would start nothing from a disk.
    #[must_use]
    pub fn of_boot(boot: &Boot) -> Option<Self> {
        Some(match boot.problem()? {
            NoBoot::NoEfiPartition { disk } => Self::NoEfiPartition { disk },
            NoBoot::NoEntry { disk, partition } => Self::NoBootEntry {
                disk,
                partition,
                default: boot.default,
                entries: boot.entries.iter().map(ToString::to_string).collect(),
            },
        })
    }

    /// For programs; does not change.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCard => "no-card",
            Self::NoLink { .. } => "no-link",
            Self::UnsteadyLink { .. } => "unsteady-link",
            Self::SilentPort { .. } => "silent-port",
            Self::HungCard { .. } => "hung-card",
            Self::LateAnswer { .. } => "late-answer",
            Self::NoDhcp { .. } => "no-dhcp",
            Self::NoAddress { .. } => "no-address",
            Self::SecondDhcp { .. } => "second-dhcp",
            Self::NoName { .. } => "no-name",
            Self::NoRoute { .. } => "no-route",
            Self::WrongCard { .. } => "wrong-card",
            Self::NoServer { .. } => "no-server",
            Self::NoRouter { .. } => "no-router",
            Self::NoWebServer { .. } => "no-web-server",
            Self::WebBlocked { .. } => "web-blocked",
            Self::ServerSilent { .. } => "server-silent",
            Self::Redirect { .. } => "redirect",
            Self::ServerFails { .. } => "server-fails",
            Self::NotFog { .. } => "not-fog",
            Self::NoStore { .. } => "no-store",
            Self::NoSender { .. } => "no-sender",
            Self::RendezvousBlocked { .. } => "rendezvous-blocked",
            Self::NotRouted { .. } => "multicast-not-routed",
            Self::NoQuerier { .. } => "no-querier",
            Self::Filtered { .. } => "multicast-filtered",
            Self::SmallOnly { .. } => "small-datagrams-only",
            Self::BlackHole { .. } => "mtu-black-hole",
            Self::SmallMtu { .. } => "small-mtu",
            Self::HalfDuplex { .. } => "half-duplex",
            Self::SlowLink { .. } => "slow-link",
            Self::CardErrors { .. } => "card-errors",
            Self::ClockOff { .. } => "clock-off",
            Self::NoDisk => "no-disk",
            Self::DiskGone { .. } => "disk-gone",
            Self::DiskUnreadable { .. } => "disk-unreadable",
            Self::DiskErrors { .. } => "disk-errors",
            Self::DiskFailing { .. } => "disk-failing",
            Self::SlowDisk { .. } => "slow-disk",
            Self::NoEfiPartition { .. } => "no-efi-partition",
            Self::NoBootEntry { .. } => "no-boot-entry",
            Self::LittleMemory { .. } => "little-memory",
            Self::MemoryErrors { .. } => "memory-errors",
            Self::NoTestSender { .. } => "no-test-sender",
            Self::RequestsLost { .. } => "requests-lost",
            Self::NoTestAnswer { .. } => "no-test-answer",
            Self::TestRefused { .. } => "test-refused",
            Self::TestStoodStill { .. } => "test-stood-still",
            Self::TestCut { .. } => "test-cut",
            Self::ForeignStream { .. } => "foreign-stream",
            Self::TestDamaged { .. } => "test-damaged",
            Self::TestFailed { .. } => "test-failed",
            Self::HighLoss { .. } => "high-loss",
            Self::SlowTransfer { .. } => "slow-transfer",
            Self::OwnWeb { .. } => "own-web",
            Self::OtherCard { .. } => "other-card",
            Self::NoReceiver { .. } => "no-receiver",
            Self::FewReceivers { .. } => "few-receivers",
            Self::GroupUnheard { .. } => "group-unheard",
            Self::LargeLost { .. } => "large-lost",
            Self::ReceiversLeft { .. } => "receivers-left",
        }
    }

    /// Whether it can keep a machine waiting, and not only make it slow.
    #[must_use]
    pub fn can_block(&self) -> bool {
        !matches!(
            self,
            Self::LateAnswer { .. }
                | Self::HalfDuplex { .. }
                | Self::SlowLink { .. }
                | Self::ClockOff { .. }
                | Self::DiskFailing { .. }
                | Self::SlowDisk { .. }
                | Self::NoEfiPartition { .. }
                | Self::NoBootEntry { .. }
                | Self::LittleMemory { .. }
                | Self::MemoryErrors { .. }
        )
    }

    /// Whether the network or its server seems not to be there at all: it may only need more time.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::SilentPort { .. }
                | Self::NoDhcp { .. }
                | Self::NoServer { .. }
                | Self::NoRouter { .. }
        )
    }
}
