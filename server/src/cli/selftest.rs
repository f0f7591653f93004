//! `selftest`: sends a test stream as a session sends an image.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use axum::http::{Request, header};
use diagnosis::trial::{sent, together, together_json};
use diagnosis::{Look, Skipped, report};
use fos_api::CAPABILITY;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use super::{Outcome, Places};
use crate::output;
use crate::selftest::{self, Plan};
use crate::served::Served;

/// What `--help` says last.
const AFTER_HELP: &str = "Start this, and on one or more clients `fos-agent selftest` (or udpcast's own `udp-receiver \
    > /dev/null`), in any order. No task, no image and no database are needed; nothing is written. It ends by \
    itself.\n\
    Exit status: 0 all works, 1 it could not test, 2 wrong usage, 3 something does not work.\n\
    --json prints one object: \"ok\", \"findings\" (code, text, evidence, advice), \"checks\" (check, result: fine, \
    problem or skipped, text), and \"together\" (lines, facts): what both ends have seen, null if that is not known.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Selftest {
    /// Network card by which to send, by name or address [default: the one at which the first receiver asks]
    #[arg(long, short, value_name = "INTERFACE")]
    interface: Option<String>,
    /// How many receivers are waited for
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = receivers)]
    receivers: u32,
    /// How long they are waited for; then the test is sent to those that are there
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = seconds)]
    wait: u64,
    /// Size of the test in MB; it ends after 10 s in any case
    #[arg(long, value_name = "MB", default_value_t = 100, value_parser = size)]
    size: u64,
    /// UDP port of the receivers, the sender has the next; as at the receivers. Sessions have 63100 and up
    #[arg(long, short = 'P', value_name = "PORT", default_value_t = 9000, value_parser = port)]
    port: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Selftest {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<Outcome> {
        let plan = Plan {
            interface: self.interface,
            receivers: self.receivers,
            wait: Duration::from_secs(self.wait),
            len: self.size * 1_000_000,
            port: self.port,
        };
        let test = tokio::task::spawn_blocking(move || selftest::run(&plan));
        let (mut test, room) = test.await.context("the test stopped")??;
        test.web = web(places, test.own).await;
        let (checks, causes) = sent(&test);
        if self.json {
            let mut report = report::json(&checks, &causes);
            report["together"] = room.map_or(Value::Null, |room| together_json(&room));
            output::result(&report.to_string());
        } else {
            let report = report::text(&checks, &causes);
            let known = room.map(|room| together(&room));
            output::result(&format!(
                "{}\n\n{}",
                report.trim_end(),
                report::together(known)
            ));
        }
        Ok(match causes.is_empty() {
            true => Outcome::Done,
            false => Outcome::Found,
        })
    }
}

/// Whether the server of this data directory answers by HTTP at this address.
async fn web(places: &Places, own: Ipv4Addr) -> Look<Result<String, (String, String)>> {
    let is_running = tokio::time::timeout(LIMIT, UnixStream::connect(places.socket())).await;
    let served = Served::read(&places.data);
    let (Ok(Ok(_)), Ok(Some(served))) = (is_running, served) else {
        return Err(Skipped::Failed(format!(
            "no fos-server runs with {}; `fos-agent selftest` tests the one that it finds",
            places.data.display()
        )));
    };
    let at = served.web(own);
    let url = format!("http://{at}/fog/");
    let asked = tokio::time::timeout(LIMIT, version(at)).await;
    let asked =
        asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", LIMIT.as_secs())));
    Ok(match asked {
        Ok(()) => Ok(url),
        Err(error) => Err((url, readable::chain(error.as_ref()))),
    })
}

async fn version(at: SocketAddr) -> anyhow::Result<()> {
    let stream = TcpStream::connect(at).await.context("connecting")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/fog/service/getversion.php?caps=1")
        .header(header::HOST, at.to_string())
        .body(Body::empty())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        anyhow::ensure!(status.is_success(), "it answers with HTTP status {status}");
        let body = axum::body::to_bytes(Body::new(response.into_body()), MAX_ANSWER).await?;
        let text = String::from_utf8_lossy(&body);
        let is_ours = text.split_ascii_whitespace().any(|word| word == CAPABILITY);
        anyhow::ensure!(is_ours, "what answers there is no fos-server");
        Ok(())
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}

fn receivers(text: &str) -> Result<u32, String> {
    within(text, 1..=1024)
}

fn seconds(text: &str) -> Result<u64, String> {
    within(text, 1..=3600)
}

fn size(text: &str) -> Result<u64, String> {
    within(text, 1..=10_000)
}

fn port(text: &str) -> Result<u16, String> {
    within(text, 1..=65_534)
}

fn within<T>(text: &str, range: std::ops::RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let number = super::number(text)?;
    match range.contains(&number) {
        true => Ok(number),
        false => Err(format!(
            "expected a number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

const LIMIT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 4096;
