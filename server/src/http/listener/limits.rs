//! What the clients of a listener may cost.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Limits of the listeners for HTTP and HTTPS together. Each costs memory or time, and none can be switched off.
///
/// A connection costs up to two [`write_buffer`](Self::write_buffer), two
/// [`request_head`](Self::request_head), one piece of the response body (64 KiB of a file), and some
/// 10 KiB for task and state: 240 KiB with the defaults if its peer does not read, 20 KiB if it waits, and
/// what has come of a body (64 KiB at most) if that is not whole. Over TLS it costs up to 150 KiB more (64 KiB to be sent,
/// a message of the handshake of 64 KiB at most, a record of 16 KiB), and 20 KiB if it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Limits of the HTTP server")]
pub struct Limits {
    /// Connections at a time, an open file each; costs 20 KiB for each that waits, and 240 KiB for each
    /// whose client does not read. If all are in use, the one that has waited longest for a request is
    /// closed
    #[arg(long = "http-connections", value_name = "N", default_value_t = Self::CONNECTIONS,
        value_parser = positive)]
    pub connections: usize,
    /// Connections of one address (IPv6: of one /64 network); more are answered with status 503. A
    /// client needs 2 or 3. A proxy or router before a whole building is one address, so this is not
    /// small: one address may cost 60 MiB
    #[arg(long = "http-connections-per-address", value_name = "N",
        default_value_t = Self::CONNECTIONS_PER_ADDRESS, value_parser = positive)]
    pub connections_per_address: usize,
    /// Seconds that the head of a request may take, from the connection or its first byte on; as long
    /// may a client hold a connection that asks nothing. With HTTPS the handshake is a part of it
    #[arg(long = "http-header-timeout", value_name = "SECONDS", default_value = "10",
        value_parser = seconds)]
    pub header_timeout: Duration,
    /// Seconds that the whole body of a request may take; forms and inventories are some kilobytes
    #[arg(long = "http-body-timeout", value_name = "SECONDS", default_value = "30",
        value_parser = seconds)]
    pub body_timeout: Duration,
    /// Seconds that a connection is kept for a further request. Clients ask every 2 to 5 s and connect
    /// anew if it was closed
    #[arg(long = "http-idle-timeout", value_name = "SECONDS", default_value = "20",
        value_parser = seconds)]
    pub idle_timeout: Duration,
    /// Seconds that a client may not read while an answer waits for it; it has to take a third of the
    /// write buffer in that time
    #[arg(long = "http-write-timeout", value_name = "SECONDS", default_value = "20",
        value_parser = seconds)]
    pub write_timeout: Duration,
    /// Bytes of an answer that the kernel keeps for a connection; it reserves twice as much. With
    /// a round trip of 1 ms, 65536 allow 64 MB/s for each connection
    #[arg(long = "http-write-buffer", value_name = "BYTES", default_value_t = Self::WRITE_BUFFER,
        value_parser = write_buffer)]
    pub write_buffer: usize,
    /// Bytes that the first line and headers of a request may have; as many of an answer wait before
    /// the kernel takes them. At least 8192
    #[arg(long = "http-request-head", value_name = "BYTES", default_value_t = Self::REQUEST_HEAD,
        value_parser = request_head)]
    pub request_head: usize,
    /// Seconds that a check-in of a FOG client may be held back whose answer brings nothing new, where more
    /// than 500 clients ask again and again; costs a connection for each that waits. Nothing is held
    /// while half of the connections are in use, in all or of the client's address. 0 holds nothing
    #[arg(long = "http-hold", value_name = "SECONDS", default_value = "15", value_parser = hold)]
    pub hold: Duration,
    /// Seconds that running requests may take at the end of the server; at most 3, as the whole server
    /// ends within 10 s
    #[arg(long = "http-shutdown-grace", value_name = "SECONDS", default_value = "3",
        value_parser = seconds)]
    pub shutdown_grace: Duration,
}

impl Limits {
    const CONNECTIONS: usize = 4096;
    const CONNECTIONS_PER_ADDRESS: usize = 256;
    const WRITE_BUFFER: usize = 64 << 10;
    const REQUEST_HEAD: usize = 16 << 10;
}

impl Limits {
    /// The same, where the end of the listener may take `whole`.
    #[must_use]
    pub fn ending_within(self, whole: Duration) -> Self {
        let most = whole.saturating_sub(super::LAST_GRACE);
        Self {
            shutdown_grace: self.shutdown_grace.min(most),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Self::CONNECTIONS,
            connections_per_address: Self::CONNECTIONS_PER_ADDRESS,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_secs(20),
            write_buffer: Self::WRITE_BUFFER,
            request_head: Self::REQUEST_HEAD,
            hold: Duration::from_secs(15),
            shutdown_grace: Duration::from_secs(3),
        }
    }
}

/// How many files this process may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimit {
    /// Files, sockets among them.
    pub files: u64,
    /// Connections that were given up in [`Limits::connections`] for it.
    pub connections_less: usize,
}

/// Raises the number of open files to the hard limit, and lowers `limits.connections` if even that is
/// too few for them: then the listener closes what waits, instead of failing at the next file.
///
/// # Errors
/// If the limit can neither be read nor set.
pub fn raise_file_limit(limits: &mut Limits) -> std::io::Result<FileLimit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    let connections_less = fit(limits, hard);
    Ok(FileLimit {
        files: hard,
        connections_less,
    })
}

/// Leaves [`OTHER_FILES`] of `files` for everything else; answers by how much that lowered the limit.
fn fit(limits: &mut Limits, files: u64) -> usize {
    let room = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    let room = room.max(1);
    let less = limits.connections.saturating_sub(room);
    limits.connections -= less;
    less
}

/// Database, logs, image files, multicast sockets, refusals on their way.
const OTHER_FILES: u64 = 256;

fn positive(text: &str) -> Result<usize, String> {
    at_least(1, text)
}

fn write_buffer(text: &str) -> Result<usize, String> {
    at_least(4096, text)
}

/// hyper needs as much for its buffer.
fn request_head(text: &str) -> Result<usize, String> {
    at_least(8192, text)
}

fn at_least(least: usize, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (least..=MOST).contains(&number) => Ok(number),
        Ok(_) => Err(format!("must be {least} to {MOST}")),
        Err(_) => Err("not a number".into()),
    }
}

/// Of any number here: far more than makes sense, and no sum of them overflows.
const MOST: usize = 1 << 30;

/// With the pause of a client and the look at the files, it stays below the time after which a machine that is not
/// heard of may be replaced. Proxies and the time limit of an answer have more patience.
fn hold(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 0..=15) => Ok(Duration::from_secs(seconds)),
        Ok(_) => Err("must be 0 to 15".into()),
        Err(_) => Err("not a number of seconds".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        Ok(_) => Err("must be 1 to 86400".into()),
        Err(_) => Err("not a number of seconds".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        limits: Limits,
    }

    #[test]
    fn the_command_line_has_the_same_defaults() {
        assert_eq!(
            Line::try_parse_from(["x"]).unwrap().limits,
            Limits::default()
        );
        let line = ["x", "--http-header-timeout", "3", "--http-connections", "7"];
        let limits = Line::try_parse_from(line).unwrap().limits;
        assert_eq!(limits.header_timeout, Duration::from_secs(3));
        assert_eq!(limits.connections, 7);
    }

    #[test]
    fn no_limit_can_be_nothing() {
        for line in [
            ["x", "--http-header-timeout", "0"],
            ["x", "--http-connections", "0"],
            ["x", "--http-request-head", "8191"],
            ["x", "--http-write-buffer", "-1"],
            ["x", "--http-idle-timeout", "soon"],
            ["x", "--http-hold", "16"],
        ] {
            assert!(Line::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn few_files_mean_few_connections() {
        let mut limits = Limits::default();
        assert_eq!(fit(&mut limits, 1 << 20), 0);
        assert_eq!(limits, Limits::default());
        assert_eq!(fit(&mut limits, 1024), 4096 - 768);
        assert_eq!(limits.connections, 768);
        fit(&mut limits, 3);
        assert_eq!(limits.connections, 1);
    }
}
