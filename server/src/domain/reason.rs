//! Why something ended as it did. Persisted as a code with details; the words are made at the edge
//! (`crate::text`).

use fog::store::StreamName;
use serde::{Deserialize, Serialize};

use super::code;

/// Why a host's part in a session, or a session, ended.
///
/// The codes are stored in databases: a variant may get further optional fields, but never another
/// name. A code of a newer server is kept as [`Reason::Unknown`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", content = "details", rename_all = "kebab-case")]
pub enum Reason {
    /// The client reported that all is written.
    Written,
    /// The same, after the time of grace.
    WrittenLate,
    /// What was captured of its disk is verified and published.
    Captured,
    /// What it captured cannot be used; the former image is as it was.
    CaptureFailed {
        /// What is wrong, and what to do.
        text: String,
    },
    /// The client reported a failure.
    ClientFailed {
        /// Its words.
        text: String,
        /// What was known before its report.
        before: Option<Box<Self>>,
    },
    /// It checked in again, from the same address, after it had received data.
    Restarted {
        /// The stream at that time.
        stream: StreamName,
    },
    /// It checked in after the session had started. Nothing was written.
    Late {
        /// The stream at that time.
        stream: StreamName,
    },
    /// It did not check in before the session started. Nothing was written.
    Missing,
    /// It checked in, but did not connect to the sender before the session started.
    NotConnected,
    /// It did not connect for a later stream in time.
    NotConnectedFor {
        /// Which.
        stream: StreamName,
        /// How long it was waited for, in seconds; `None` if the stream began without it.
        seconds: Option<u64>,
    },
    /// It could not use the image share.
    ShareUnusable,
    /// It reported its end, but the sender saw it receive less.
    Incomplete {
        /// Streams that it acknowledged.
        done: usize,
        /// Streams in all.
        total: usize,
    },
    /// The sender dropped it.
    Dropped {
        /// In which stream.
        stream: StreamName,
        /// For how long it was silent, or made no progress, in seconds.
        seconds: u64,
        /// What was known of it.
        evidence: Evidence,
    },
    /// Its path was much slower than that of the others, and the server is told not to wait for it.
    LeftBehind {
        /// In which stream.
        stream: StreamName,
        /// What it got, and the others with it.
        bytes_per_second: u64,
        /// Share of the time that the others waited for it.
        waited_percent: u8,
    },
    /// It took no data while the others waited.
    Stalled {
        /// In which stream.
        stream: StreamName,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// It said goodbye before the end of a stream and gave no reason.
    Left {
        /// Of which stream.
        stream: StreamName,
    },
    /// It took no part in a stream.
    TookNoPart {
        /// In which.
        stream: StreamName,
    },
    /// It was silent between two streams.
    SilentBefore {
        /// The stream it was waited for.
        stream: StreamName,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// It received everything and did not report its end.
    Overdue {
        /// How long that was waited for, in seconds.
        seconds: u64,
    },
    /// The session failed.
    SessionFailed(Box<Self>),
    /// A person cancelled the session.
    SessionCancelled,
    /// A person cancelled this host's task, or dropped the host from the session.
    TaskCancelled,
    /// The server stopped while it sent; this client cannot begin a stream again.
    ServerStopped {
        /// The stream at that time.
        stream: StreamName,
    },

    /// How the hosts fared.
    Summary(Summary),
    /// Every host was cancelled.
    AllCancelled,
    /// No host connected to the sender.
    NobodyConnected {
        /// How long that was waited for, in seconds.
        seconds: u64,
        /// Hosts that were expected.
        missing: Vec<String>,
    },
    /// The sender failed.
    SenderFailed {
        /// In which stream.
        stream: StreamName,
        /// What the system said.
        text: String,
    },
    /// A stream stood still.
    StoodStill {
        /// Which.
        stream: StreamName,
        /// For how long, in seconds.
        seconds: u64,
        /// Where it is stuck.
        cause: Standstill,
    },
    /// A file of the image is not as it was.
    ImageChanged {
        /// Which, and what is wrong.
        text: String,
    },
    /// The session cannot be run as it is stored.
    Unusable(Defect),
    /// A row of the database cannot be understood.
    BrokenRow(Box<BrokenRow>),
    /// A programming error.
    Internal {
        /// What is known of it.
        text: String,
    },
    /// The words of an older version, which stored nothing else.
    Words {
        /// A sentence.
        text: String,
    },
    /// A code of another version.
    Unknown {
        /// The code.
        code: String,
        /// Its details, JSON.
        details: String,
    },
}

/// How the hosts of a session fared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Hosts that are complete.
    pub complete: usize,
    /// Hosts in all.
    pub total: usize,
    /// Hosts that a person took out.
    pub cancelled: usize,
    /// The others, at most [`Summary::MAX_TROUBLES`].
    pub troubles: Vec<(String, Box<Reason>)>,
    /// Further ones.
    pub more: usize,
}

impl Summary {
    /// Hosts whose trouble is part of the session's reason, some 200 bytes each.
    pub const MAX_TROUBLES: usize = 20;
}

/// What was known of a receiver that the sender dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Neither the sender nor the web server heard it.
    Gone,
    /// It asked over HTTP meanwhile, but the sender heard nothing.
    HeardByHttp,
    /// The same, and it never acknowledged anything of this stream.
    HeardByHttpNeverData,
    /// Its host said that no program listens any more.
    NotListening,
    /// It answered all the time, but got no data block.
    AnswersWithoutData,
    /// It answered all the time, but some blocks never arrived.
    AnswersWithLoss,
    /// It answered all the time, but had no room for more data.
    DiskStandsStill,
}

/// Where a stream is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standstill {
    /// The sender did not begin.
    Sender,
    /// The image store gave no data.
    ImageStore,
    /// No receiver took data, although they answer.
    Receivers,
}

/// Why a session cannot be run as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "defect", rename_all = "kebab-case")]
pub enum Defect {
    /// Its image is not in the database any more.
    NoImage,
    /// Its image was never verified by this server.
    NotVerified,
    /// It has no hosts.
    NoHosts,
    /// Its base port is not an even number from 1024 on.
    Port {
        /// The port.
        port: i64,
    },
    /// Its image has another directory than when the session was made.
    OtherDirectory,
    /// It had begun to send and its streams are not those of the image any more.
    OtherStreams,
}

/// A value that cannot be what its column is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("table {table}, row {row}: column {column} holds {value:?}, expected {expected}")]
pub struct BrokenRow {
    /// Table.
    pub table: String,
    /// Key of the row.
    pub row: String,
    /// Column.
    pub column: String,
    /// What it holds, cut.
    pub value: String,
    /// What it should hold.
    pub expected: String,
}

impl Reason {
    /// Code and details (JSON, empty if there are none) for a database.
    #[must_use]
    pub fn to_parts(&self) -> (String, String) {
        if let Self::Unknown { code, details } = self {
            return (code.clone(), details.clone());
        }
        code::to_parts(self)
    }

    /// What a database holds; `None` for an empty code.
    #[must_use]
    pub fn from_parts(code: &str, details: &str) -> Option<Self> {
        if code.is_empty() {
            return None;
        }
        let known = code::from_parts(code, details);
        Some(known.unwrap_or_else(|| Self::Unknown {
            code: code.to_owned(),
            details: details.to_owned(),
        }))
    }

    /// Whether a person wished it: no failure.
    #[must_use]
    pub fn is_wish(&self) -> bool {
        matches!(
            self,
            Self::SessionCancelled | Self::TaskCancelled | Self::AllCancelled
        )
    }

    /// Whether a client that only follows the stream does not know of it, though it was told to go.
    #[must_use]
    pub fn leaves_unaware(&self) -> bool {
        matches!(
            self,
            Self::SessionFailed(_)
                | Self::SessionCancelled
                | Self::TaskCancelled
                | Self::NotConnected
        )
    }

    /// Whether a completion report that comes later still counts: it was only missing.
    #[must_use]
    pub fn awaits_report(&self) -> bool {
        matches!(self, Self::Overdue { .. })
    }

    /// This, after the client's own report of a failure; only its first one counts.
    #[must_use]
    pub fn with_report(&self, text: &str) -> Option<Self> {
        match self {
            Self::ClientFailed { .. } => None,
            before => Some(Self::ClientFailed {
                text: text.to_owned(),
                before: Some(Box::new(before.clone())),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Reason> {
        let stream = StreamName::of_file("d1p1.img");
        vec![
            Reason::Written,
            Reason::ClientFailed {
                text: "disk \"full\"\n".into(),
                before: Some(Box::new(Reason::Overdue { seconds: 600 })),
            },
            Reason::Dropped {
                stream: stream.clone(),
                seconds: 16,
                evidence: Evidence::HeardByHttpNeverData,
            },
            Reason::Summary(Summary {
                complete: 1,
                total: 2,
                troubles: vec![("pc2".into(), Box::new(Reason::Left { stream }))],
                ..Summary::default()
            }),
            Reason::Unusable(Defect::Port { port: 63101 }),
            Reason::Unusable(Defect::OtherDirectory),
            Reason::SessionFailed(Box::new(Reason::Unusable(Defect::NoImage))),
        ]
    }

    #[test]
    fn what_is_stored_comes_back() {
        for reason in samples() {
            let (code, details) = reason.to_parts();
            assert!(!code.is_empty() && code.is_ascii(), "{code}");
            assert_eq!(Reason::from_parts(&code, &details), Some(reason));
        }
        assert_eq!(Reason::from_parts("", ""), None);
    }

    #[test]
    fn codes_are_fixed() {
        let codes: Vec<String> = samples().iter().map(|reason| reason.to_parts().0).collect();
        assert_eq!(
            codes,
            [
                "written",
                "client-failed",
                "dropped",
                "summary",
                "unusable",
                "unusable",
                "session-failed"
            ]
        );
    }

    #[test]
    fn strangers_are_kept() {
        for (code, details) in [
            ("of-the-future", "{\"a\":1}"),
            ("overdue", "rubbish"),
            ("x", ""),
        ] {
            let reason = Reason::from_parts(code, details).unwrap();
            assert!(matches!(reason, Reason::Unknown { .. }));
            assert_eq!(reason.to_parts(), (code.to_owned(), details.to_owned()));
        }
    }

    #[test]
    fn only_the_first_report_counts() {
        let first = Reason::Written.with_report("bad disk").unwrap();
        assert!(
            matches!(&first, Reason::ClientFailed { before: Some(before), .. }
            if **before == Reason::Written)
        );
        assert_eq!(first.with_report("again"), None);
    }
}
