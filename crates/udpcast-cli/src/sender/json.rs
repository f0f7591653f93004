//! What happens, as lines of JSON for programs.
//!
//! Each line is an object with `event` and, where it is about one, `receiver` (its address). Names of
//! fields end with their unit. Fields and events may be added, so readers pass over what they do not know.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use readable::NAMED_AFTER;
use serde::Serialize;

use cast_net::udpcast::sender::{
    DropCause, Evidence, GiveUpReason, Outcome, Participant, RefuseReason, SenderEvent,
    SenderStatistics, StartReason,
};
use cast_net::{ParticipantResult, SendError, SendEvent, SendReport};

/// One line.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    /// A receiver takes part.
    Connected { receiver: Ipv4Addr, number: u16 },
    /// A receiver was turned away.
    Refused { receiver: Ipv4Addr, reason: Refused },
    /// Data flows.
    Started { reason: Start, receivers: u32 },
    /// A receiver that has been asked for a slice has said nothing for so long; at most once a second for
    /// each.
    Silent {
        receiver: Ipv4Addr,
        seconds: f64,
        slice: u32,
    },
    /// A receiver answers, but what is repeated for it has no effect.
    NoProgress {
        receiver: Ipv4Addr,
        seconds: f64,
        slice: u32,
        missing_blocks: u16,
        slice_blocks: u16,
    },
    /// The rate follows a receiver that loses most of what is sent.
    Slow {
        receiver: Ipv4Addr,
        rate_bits_per_second: u64,
    },
    /// A receiver was given up.
    Dropped {
        receiver: Ipv4Addr,
        #[serde(flatten)]
        reason: Reason,
        /// How long that had lasted.
        seconds: f64,
        /// The first slice that it lacks.
        slice: u32,
        #[serde(flatten)]
        part: Part,
    },
    /// A receiver went, or was done.
    Left {
        receiver: Ipv4Addr,
        outcome: Fate,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_slice: Option<u32>,
    },
    /// Twice a second.
    Progress {
        #[serde(flatten)]
        totals: Totals,
        /// The rate that follows a slow receiver.
        #[serde(skip_serializing_if = "Option::is_none")]
        rate_bits_per_second: Option<u64>,
    },
    /// So many lines are missing here: they were not read in time.
    LeftOut { lines: u64 },
    /// What became of a receiver; one for each at the end.
    Result {
        receiver: Ipv4Addr,
        outcome: Fate,
        #[serde(flatten)]
        part: Part,
    },
    /// The last line: at least one receiver has everything.
    Finished {
        stream_bytes: u64,
        seconds: f64,
        #[serde(flatten)]
        totals: Totals,
    },
    /// The last line: no receiver has everything.
    Failed {
        reason: Failure,
        /// For people.
        message: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Part {
    acknowledged_bytes: u64,
    acknowledged_slices: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Totals {
    /// Bytes of the stream that all have.
    acknowledged_bytes: u64,
    /// Bytes of all datagrams, without headers of UDP and IP.
    sent_bytes: u64,
    sent_datagrams: u64,
    repeated_blocks: u64,
    repair_blocks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Refused {
    Full,
    NotExpected,
    Late,
    PointToPoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Start {
    Key,
    Receiver,
    AllThere,
    MaxWait,
    Autostart,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Reason {
    Silent,
    NotListening,
    NoProgress {
        missing_blocks: u16,
        slice_blocks: u16,
    },
    Holding,
    Slow {
        rate_bytes_per_second: u64,
        waited_percent: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fate {
    /// It has every byte.
    Completed,
    Left,
    Dropped,
    Removed,
    /// It still took part.
    Connected,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Failure {
    NoReceiver,
    AllGone,
    TooLong,
    Stopped,
    Input,
    Network,
    Setup,
}

/// Makes the lines.
#[derive(Default)]
pub(super) struct Json {
    /// Silence as last reported, so that each receiver is named once a second at most.
    silent: BTreeMap<Ipv4Addr, Duration>,
}

/// Least time between two reports of one silence.
const AGAIN: Duration = Duration::from_secs(1);

impl Json {
    /// What is to be written of it, each line with its end.
    pub(super) fn event(&mut self, event: &SendEvent) -> Vec<String> {
        let lines = match event {
            SendEvent::Protocol(event) => self.protocol(event),
            SendEvent::Progress {
                statistics,
                participants,
            } => {
                self.forget_silence(participants);
                vec![Line::Progress {
                    totals: Totals::of(statistics),
                    rate_bits_per_second: statistics.pace,
                }]
            }
            // A matter of this host, not of a receiver; standard error has it.
            SendEvent::Network(_) => Vec::new(),
        };
        lines.iter().map(text).collect()
    }

    /// The end.
    pub(super) fn end(&self, result: &Result<SendReport, SendError>) -> Vec<String> {
        let report = match result {
            Ok(report) => Some(report),
            Err(
                SendError::GaveUp { report, .. }
                | SendError::Aborted { report, .. }
                | SendError::Stopped { report },
            ) => Some(&**report),
            Err(_) => None,
        };
        let participants = report.iter().flat_map(|report| &report.participants);
        let results = participants.map(|participant| {
            let ParticipantResult {
                addr,
                outcome,
                evidence,
                ..
            } = *participant;
            Line::Result {
                receiver: addr,
                outcome: outcome.into(),
                part: evidence.into(),
            }
        });
        let last = match result {
            Ok(report) => Line::Finished {
                stream_bytes: report.bytes,
                seconds: report.transfer_time.unwrap_or_default().as_secs_f64(),
                totals: Totals::of(&report.statistics),
            },
            Err(error) => Line::Failed {
                reason: Failure::of(error),
                message: error.to_string(),
            },
        };
        let mut lines: Vec<String> = results.map(|line| text(&line)).collect();
        lines.push(text(&last));
        lines
    }

    fn protocol(&mut self, event: &SenderEvent) -> Vec<Line> {
        let line = match event {
            SenderEvent::Joined { client, addr, .. } => Line::Connected {
                receiver: *addr,
                number: client.0,
            },
            SenderEvent::Refused { addr, reason } => Line::Refused {
                receiver: *addr,
                reason: (*reason).into(),
            },
            SenderEvent::Started {
                reason,
                participants,
                ..
            } => Line::Started {
                reason: (*reason).into(),
                receivers: *participants,
            },
            SenderEvent::Left { addr, outcome } => Line::Left {
                receiver: *addr,
                outcome: (*outcome).into(),
                last_slice: last_slice(*outcome),
            },
            SenderEvent::Dropped {
                addr,
                cause,
                lasted,
                slice,
                evidence,
            } => Line::Dropped {
                receiver: *addr,
                reason: (*cause).into(),
                seconds: lasted.as_secs_f64(),
                slice: slice.0,
                part: (*evidence).into(),
            },
            SenderEvent::Paced {
                addr,
                bits_per_second,
            } => Line::Slow {
                receiver: *addr,
                rate_bits_per_second: *bits_per_second,
            },
            SenderEvent::NoProgress {
                slice,
                blocks,
                lacking,
                ..
            } => {
                let lines = lacking.iter().map(|it| Line::NoProgress {
                    receiver: it.addr,
                    seconds: it.lasted.as_secs_f64(),
                    slice: slice.0,
                    missing_blocks: it.missing,
                    slice_blocks: *blocks,
                });
                return lines.collect();
            }
            SenderEvent::SlowRound {
                slice, waiting_for, ..
            } => {
                let silent = waiting_for.iter().filter(|it| self.is_news(it.0, it.1));
                let silent: Vec<_> = silent.copied().collect();
                self.silent.extend(silent.iter().copied());
                let lines = silent.into_iter().map(|(receiver, silence)| Line::Silent {
                    receiver,
                    seconds: silence.as_secs_f64(),
                    slice: slice.0,
                });
                return lines.collect();
            }
            SenderEvent::SliceAcked { .. }
            | SenderEvent::Probe { .. }
            | SenderEvent::Finished
            | SenderEvent::GaveUp(_) => return Vec::new(),
        };
        vec![line]
    }

    /// Whether this silence is to be reported now.
    fn is_news(&self, receiver: Ipv4Addr, silence: Duration) -> bool {
        let before = self.silent.get(&receiver).copied().unwrap_or_default();
        // It was heard meanwhile if the silence is shorter.
        let is_due = silence < before || silence >= before + AGAIN;
        silence >= NAMED_AFTER && is_due
    }

    /// Those that take part no longer are silent no longer.
    fn forget_silence(&mut self, participants: &[Participant]) {
        self.silent.retain(|addr, _| {
            participants
                .iter()
                .any(|it| it.addr == *addr && it.outcome == Outcome::Connected)
        });
    }
}

/// Stands for so many lines that were left out, as they were not read in time.
pub(super) fn left_out(lines: u64) -> String {
    text(&Line::LeftOut { lines })
}

fn text(line: &Line) -> String {
    let mut text = serde_json::to_string(line).expect("a line has only what JSON can express");
    text.push('\n');
    text
}

impl Totals {
    fn of(statistics: &SenderStatistics) -> Self {
        Self {
            acknowledged_bytes: statistics.bytes_acked,
            sent_bytes: statistics.bytes_sent,
            sent_datagrams: statistics.datagrams_sent,
            repeated_blocks: statistics.blocks_repeated,
            repair_blocks: statistics.fec_sent,
        }
    }
}

impl Failure {
    fn of(error: &SendError) -> Self {
        match error {
            SendError::Config(_)
            | SendError::Socket(_)
            | SendError::System { .. }
            | SendError::Panicked(_) => Self::Setup,
            SendError::Input(_) => Self::Input,
            SendError::Network(_) => Self::Network,
            SendError::Stopped { .. } | SendError::Aborted { .. } => Self::Stopped,
            SendError::GaveUp { reason, .. } => match reason {
                GiveUpReason::StartTimeout
                | GiveUpReason::NoParticipants
                | GiveUpReason::NotPointToPoint => Self::NoReceiver,
                GiveUpReason::AllGone => Self::AllGone,
                GiveUpReason::TooLong => Self::TooLong,
                GiveUpReason::Aborted { .. } => Self::Stopped,
            },
        }
    }
}

impl From<Evidence> for Part {
    fn from(evidence: Evidence) -> Self {
        Self {
            acknowledged_bytes: evidence.bytes_acked,
            acknowledged_slices: evidence.slices_acked,
        }
    }
}

impl From<RefuseReason> for Refused {
    fn from(reason: RefuseReason) -> Self {
        match reason {
            RefuseReason::Full => Self::Full,
            RefuseReason::NotExpected => Self::NotExpected,
            RefuseReason::Late => Self::Late,
            RefuseReason::PointToPoint => Self::PointToPoint,
        }
    }
}

impl From<StartReason> for Start {
    fn from(reason: StartReason) -> Self {
        match reason {
            StartReason::Operator => Self::Key,
            StartReason::Go(_) => Self::Receiver,
            StartReason::Complete => Self::AllThere,
            StartReason::MaxWait => Self::MaxWait,
            StartReason::Autostart => Self::Autostart,
        }
    }
}

impl From<DropCause> for Reason {
    fn from(cause: DropCause) -> Self {
        match cause {
            DropCause::Silent => Self::Silent,
            DropCause::Unreachable => Self::NotListening,
            DropCause::NoProgress { missing, blocks } => Self::NoProgress {
                missing_blocks: missing,
                slice_blocks: blocks,
            },
            DropCause::Holding => Self::Holding,
            DropCause::Slow {
                bytes_per_second,
                waited_percent,
            } => Self::Slow {
                rate_bytes_per_second: bytes_per_second,
                waited_percent,
            },
        }
    }
}

impl From<Outcome> for Fate {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Connected => Self::Connected,
            Outcome::Completed => Self::Completed,
            Outcome::Left { .. } => Self::Left,
            Outcome::Dropped { .. } => Self::Dropped,
            Outcome::Removed { .. } => Self::Removed,
        }
    }
}

fn last_slice(outcome: Outcome) -> Option<u32> {
    match outcome {
        Outcome::Connected | Outcome::Completed => None,
        Outcome::Left { last_slice }
        | Outcome::Dropped { last_slice, .. }
        | Outcome::Removed { last_slice } => last_slice.map(|slice| slice.0),
    }
}

#[cfg(test)]
mod tests {
    use cast_net::udpcast::SliceNo;

    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn lines(events: impl IntoIterator<Item = SenderEvent>) -> Vec<String> {
        let mut json = Json::default();
        let lines = events
            .into_iter()
            .flat_map(|event| json.event(&SendEvent::Protocol(event)));
        lines
            .map(|line| line.strip_suffix('\n').unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_receiver_that_is_dropped_has_its_reason_and_figures() {
        let dropped = |cause| SenderEvent::Dropped {
            addr: HOST,
            cause,
            lasted: Duration::from_millis(1500),
            slice: SliceNo(4),
            evidence: Evidence {
                slices_acked: 4,
                bytes_acked: 4000,
                ..Evidence::default()
            },
        };
        let slow = DropCause::Slow {
            bytes_per_second: 4_800_000,
            waited_percent: 93,
        };
        let no_progress = DropCause::NoProgress {
            missing: 3,
            blocks: 112,
        };
        let rest = r#""seconds":1.5,"slice":4,"acknowledged_bytes":4000,"acknowledged_slices":4}"#;
        let begin = r#"{"event":"dropped","receiver":"10.0.0.7","reason":"#;
        assert_eq!(
            lines([
                dropped(slow),
                dropped(DropCause::Unreachable),
                dropped(no_progress)
            ]),
            [
                format!(
                    r#"{begin}"slow","rate_bytes_per_second":4800000,"waited_percent":93,{rest}"#
                ),
                format!(r#"{begin}"not-listening",{rest}"#),
                format!(r#"{begin}"no-progress","missing_blocks":3,"slice_blocks":112,{rest}"#),
            ]
        );
    }

    #[test]
    fn silence_is_reported_after_two_seconds_and_then_once_a_second() {
        let round = |millis| SenderEvent::SlowRound {
            slice: SliceNo(1),
            round: 7,
            waiting_for: vec![(HOST, Duration::from_millis(millis))],
        };
        let told = lines([500, 1900, 2000, 2500, 3000, 2100].map(round));
        let seconds: Vec<&str> = told
            .iter()
            .map(|line| line.split([':', ',']).nth(5).unwrap())
            .collect();
        assert_eq!(seconds, ["2.0", "3.0", "2.1"], "{told:?}");
    }

    #[test]
    fn one_that_is_done_has_left_with_everything() {
        let left = SenderEvent::Left {
            addr: HOST,
            outcome: Outcome::Completed,
        };
        let expected = r#"{"event":"left","receiver":"10.0.0.7","outcome":"completed"}"#;
        assert_eq!(lines([left]), [expected]);
    }

    #[test]
    fn lines_that_are_missing_are_counted() {
        assert_eq!(left_out(3), "{\"event\":\"left-out\",\"lines\":3}\n");
    }
}
