//! A session, as its clients see it.

use std::fmt;

use fog::store::StreamName;
use fog::task::State;
use serde::{Deserialize, Serialize};

use crate::format::open_names;

/// A multicast session as its clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// FOG's number of the session.
    pub session: i64,
    /// State of the session.
    pub state: State,
    /// What the session does now.
    pub stage: Stage,
    /// Hosts that belong to it.
    pub expected: u32,
    /// Hosts that checked in.
    pub checked_in: u32,
    /// Receivers that joined the rendezvous of the present stream.
    pub connected: u32,
    /// Names of hosts still missing at this stage; at most 50.
    pub missing: Vec<String>,
    /// The stream waited for, sent, or last sent.
    pub stream: Option<StreamNow>,
    /// The stream, counted from 1, that the server expects the asking host to receive next, or
    /// that it is receiving. `None`: the server does not know, or this host has nothing left to
    /// receive. After a restart of the server it may be smaller than the host thinks: the last
    /// acknowledgement was not stored, and the host receives and writes that stream again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub your_stream: Option<u32>,
    /// Whether streams begin with a record; `None` until that is decided.
    pub records: Option<bool>,
    /// Seconds since the stage began.
    pub stage_seconds: u64,
    /// Seconds until the wait for missing hosts ends, if one runs.
    pub starts_in_seconds: Option<u64>,
    /// Seconds after which the server wants to be asked again, where that is less often than clients
    /// do by themselves: the room is large and nothing happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_again_seconds: Option<u32>,
    /// Where the session goes on if this server ends; `None` where clients know all servers by one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// State of the asking host's task.
    pub your_task: State,
    /// A sentence for people: what is going on or why it ended.
    pub text: String,
    /// Why the asking machine must stop; `None` as long as it may go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// Several servers with one database, each with an address of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Base URLs of the other servers, as in the kernel argument `web`; at most 8.
    pub servers: Vec<String>,
    /// Base URL of the server that runs the session, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_by: Option<String>,
}

/// Why a machine must stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What to decide by.
    pub code: RefusalCode,
    /// For people.
    pub text: String,
}

open_names! {
    /// What a refused machine can do. A machine that does not know the code stops and shows the
    /// text.
    RefusalCode {
        /// The machine's kernel arguments belong to another job: restart it, so that it fetches the
        /// present boot script.
        Restart = "restart",
    }
}

/// Stages of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Receivers of a stream are awaited.
    Gathering,
    /// A stream is being sent.
    Sending,
    /// All streams are sent; clients finish.
    Finishing,
    /// Over.
    Ended,
}

/// Which stream of how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamNow {
    /// Counted from 1.
    pub number: u32,
    /// Streams in all.
    pub count: u32,
    /// Its name.
    pub name: StreamName,
    /// Number of the attempt to send it, 0 for the first. Grows when the stream begins again from
    /// its first byte.
    #[serde(default)]
    pub run: u32,
    /// Bytes that every receiver has acknowledged.
    pub acked: u64,
    /// Bytes in all.
    pub len: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_view_of_the_first_release_is_read() {
        let json = json!({
            "session": 3, "state": "in-progress", "stage": "sending", "expected": 2, "checked_in": 2,
            "connected": 1, "missing": ["pc7"],
            "stream": { "number": 1, "count": 2, "name": "d1p1.img", "acked": 5, "len": 10 },
            "records": null, "stage_seconds": 4, "starts_in_seconds": null, "your_task": "in-progress",
            "text": "sending", "later": true,
        });
        let view: SessionView = serde_json::from_value(json).unwrap();
        assert_eq!(view.stream.as_ref().unwrap().run, 0);
        assert_eq!((view.your_stream, &view.refusal), (None, &None));

        let mut json = serde_json::to_value(&view).unwrap();
        assert!(json.get("refusal").is_none() && json.get("your_stream").is_none());
        json["your_stream"] = 2.into();
        json["stream"]["run"] = 1.into();
        json["refusal"] = json!({ "code": "restart", "text": "restart it", "later": 1 });
        let view: SessionView = serde_json::from_value(json).unwrap();
        assert_eq!(view.your_stream, Some(2));
        assert_eq!(view.stream.unwrap().run, 1);
        assert_eq!(view.refusal.unwrap().code, RefusalCode::Restart);
        assert_eq!(
            RefusalCode::from("moved"),
            RefusalCode::Unknown("moved".into())
        );
    }
}
