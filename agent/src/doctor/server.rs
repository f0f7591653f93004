//! The server: its name, the way, its ports, and what it says.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, SystemTime};

use diagnosis::{Clock, Look, Reach, Resolution, Route, Sending, ServerLook, Skipped, WebAnswer};
use fog::encoding::printable;
use fos_api::{CAPABILITY, MAX_SESSION_VIEW, SESSION_PATH, SessionView, Stage};

use super::route;
use crate::control::{CallError, Server};

/// What was seen of the server.
pub(super) struct Seen {
    pub(super) look: ServerLook,
    pub(super) clock: Look<Clock>,
}

/// Looks at the server at `web`. `store`: where a stock server has its images.
pub(super) fn look(server: &Server, store: Option<Ipv4Addr>) -> Look<Seen> {
    let url = reqwest::Url::parse(server.web())
        .map_err(|error| Skipped::Failed(format!("{}: {error}", server.web())))?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(Skipped::Failed(format!("{url} names no host")));
    };
    let mut seen = Seen {
        look: ServerLook {
            url: server.web().to_owned(),
            host: host.to_owned(),
            port,
            resolution: resolve(host, port),
            route: Err(Skipped::Unreached),
            reach: Err(Skipped::Unreached),
            answer: Err(Skipped::Unreached),
            store: Err(Skipped::Unreached),
        },
        clock: Err(Skipped::Unreached),
    };
    let Resolution::Address(address) = seen.look.resolution else {
        return Ok(seen);
    };
    seen.look.route = route::towards(address);
    if let Ok(Route::Through { .. }) = seen.look.route {
        let reach = reach(address, port);
        seen.look.reach = Ok(reach);
        if reach == Reach::Open {
            (seen.look.answer, seen.clock) = ask(server);
        }
    }
    if let Ok(WebAnswer::Fog { is_native }) = seen.look.answer {
        // A fos-server gives its small files by HTTP.
        let store = store.filter(|_| !is_native).ok_or(Skipped::NotAsked);
        seen.look.store = store.map(|store| (store, reach(store, NFS_PORT)));
    }
    Ok(seen)
}

fn resolve(host: &str, port: u16) -> Resolution {
    if let Ok(address) = host.parse() {
        return Resolution::Address(address);
    }
    let found = (host, port).to_socket_addrs();
    let error = match found {
        Ok(mut addresses) => {
            let first = addresses.find_map(|address| match address {
                SocketAddr::V4(address) => Some(*address.ip()),
                SocketAddr::V6(_) => None,
            });
            match first {
                Some(address) => return Resolution::Address(address),
                None => "it has no IPv4 address".to_owned(),
            }
        }
        Err(error) => error.to_string(),
    };
    let settings = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    Resolution::Unknown {
        name_servers: name_servers(&settings),
        error,
    }
}

fn name_servers(settings: &str) -> Vec<String> {
    let words = settings.lines().map(str::split_ascii_whitespace);
    words
        .filter_map(|mut words| match (words.next(), words.next()) {
            (Some("nameserver"), Some(address)) => Some(printable(address, 60)),
            _ => None,
        })
        .collect()
}

/// Whether a TCP port answers.
fn reach(address: Ipv4Addr, port: u16) -> Reach {
    let connected = TcpStream::connect_timeout(&(address, port).into(), CONNECT);
    let kind = match connected {
        Ok(_) => return Reach::Open,
        Err(error) => error.kind(),
    };
    match (kind, route::neighbour(address)) {
        (io::ErrorKind::ConnectionRefused, _) => Reach::Refused,
        (_, diagnosis::Neighbour::Silent) => Reach::Silent(diagnosis::Neighbour::Silent),
        // What the kernel makes of "administratively prohibited".
        (io::ErrorKind::HostUnreachable | io::ErrorKind::PermissionDenied, _) => Reach::Prohibited,
        (_, neighbour) => Reach::Silent(neighbour),
    }
}

/// What the server says of itself, and what time it is there.
fn ask(server: &Server) -> (Look<WebAnswer>, Look<Clock>) {
    let failed = |error: io::Error| Skipped::Failed(format!("preparing HTTP: {error}"));
    let runtime = match runtime().map_err(failed) {
        Ok(runtime) => runtime,
        Err(failed) => return (Err(failed.clone()), Err(failed)),
    };
    let answer = match runtime.block_on(server.look_at_version()) {
        Ok(answer) => answer,
        Err(CallError::Unreachable { cause, .. }) => {
            return (Ok(WebAnswer::Broken(cause)), Err(Skipped::Unreached));
        }
        Err(CallError::TooLong { .. }) => {
            return (Ok(WebAnswer::NoVersion), Err(Skipped::Unreached));
        }
        Err(error) => {
            let broken = WebAnswer::Broken(error.to_string());
            return (Ok(broken), Err(Skipped::Unreached));
        }
    };
    let clock = answer.date.as_deref().and_then(read_date);
    let ahead = clock.map(|theirs| Clock {
        ahead: ahead(SystemTime::now(), theirs),
    });
    let no_date = || Skipped::Failed("the server says no time".into());
    let meaning = meaning(answer.status, answer.location.as_deref(), &answer.text);
    (Ok(meaning), ahead.ok_or_else(no_date))
}

fn meaning(status: u16, location: Option<&str>, text: &str) -> WebAnswer {
    match (status, location) {
        (300..400, Some(to)) => WebAnswer::Redirect {
            to: printable(to, 200),
        },
        (200..300, _) => {
            let text = text.trim();
            // A version has a digit; a page for people begins with markup.
            let is_version = !text.starts_with('<')
                && text.len() <= LONGEST_VERSION
                && text.contains(|c: char| c.is_ascii_digit());
            match is_version {
                true => WebAnswer::Fog {
                    is_native: text.split_ascii_whitespace().any(|word| word == CAPABILITY),
                },
                false => WebAnswer::NoVersion,
            }
        }
        (status, _) => WebAnswer::Status(status),
    }
}

/// Whether the sender of this machine's session sends by multicast, and how much all receivers have of the stream; `None`
/// where the server does not say.
pub(super) fn session(server: &Server) -> Option<(Sending, Option<u64>)> {
    let view = runtime().ok()?.block_on(async {
        let asked = server.json::<SessionView>(SESSION_PATH, MAX_SESSION_VIEW);
        asked.await.ok()
    })?;
    let sending = match view.stage {
        // To a single receiver data goes by unicast.
        Stage::Sending if view.connected < 2 => Sending::Unknown,
        Stage::Sending => Sending::Now,
        Stage::Gathering => Sending::Waits,
        Stage::Finishing | Stage::Ended => Sending::Unknown,
    };
    Some((sending, view.stream.map(|stream| stream.acked)))
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn read_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// Seconds that `own` is ahead of `theirs`.
fn ahead(own: SystemTime, theirs: SystemTime) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match own.duration_since(theirs) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    }
}

const NFS_PORT: u16 = 2049;
/// Longer than ARP needs to find out that a machine is not there.
const CONNECT: Duration = Duration::from_secs(5);
const LONGEST_VERSION: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_server::{Reply, TestServer};

    #[test]
    fn a_version_is_told_from_pages_for_people() {
        let of = |text| meaning(200, None, text);
        assert_eq!(of("1.5.10\n"), WebAnswer::Fog { is_native: false });
        assert_eq!(
            of("mcstreamid fosnative1"),
            WebAnswer::Fog { is_native: true }
        );
        for text in ["", "<html>1</html>", "hello", &"1 ".repeat(600)] {
            assert_eq!(of(text), WebAnswer::NoVersion, "{text:?}");
        }
        let to = Some("http://x/\u{1b}[2J");
        let expected = "http://x/ [2J".to_owned();
        assert_eq!(meaning(302, to, "1"), WebAnswer::Redirect { to: expected });
        assert_eq!(meaning(304, None, ""), WebAnswer::Status(304));
        assert_eq!(meaning(404, None, "1.5"), WebAnswer::Status(404));
    }

    #[test]
    fn name_servers_are_those_of_the_settings() {
        let settings = "# nameserver 1.1.1.1\nsearch x\nnameserver 10.0.0.1 \nnameserver\nnameserver fe80::1%eth0\n";
        assert_eq!(name_servers(settings), ["10.0.0.1", "fe80::1%eth0"]);
    }

    #[test]
    fn clocks_differ_in_both_directions() {
        let theirs = read_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(ahead(theirs + hour, theirs), 3600);
        assert_eq!(ahead(theirs - hour, theirs), -3600);
        assert_eq!(read_date("yesterday"), None);
    }

    #[test]
    fn a_server_is_looked_at_from_name_to_time() {
        let server = TestServer::start(|_| Reply::text("1.5.10"));
        let seen = look(&server.client(), None).unwrap();
        assert_eq!(seen.look.reach, Ok(Reach::Open));
        assert_eq!(seen.look.answer, Ok(WebAnswer::Fog { is_native: false }));
        // It says no time.
        assert!(matches!(seen.clock, Err(Skipped::Failed(_))));
        let dead = look(&TestServer::dead_client(), None).unwrap();
        assert_eq!(dead.look.reach, Ok(Reach::Refused));
        assert_eq!(dead.look.answer, Err(Skipped::Unreached));
        let mute = TestServer::start(|_| Reply::none());
        let seen = look(&mute.client(), None).unwrap();
        assert!(matches!(seen.look.answer, Ok(WebAnswer::Broken(_))));
    }
}
