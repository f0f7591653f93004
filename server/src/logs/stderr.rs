//! Events on standard error, written by a thread of their own: a terminal or journal that takes nothing
//! must not stop the server.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fog::encoding::{is_invisible, printable_char};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::queue::{Queue, QueueLimits};

/// Costs at most some 10 MB while standard error takes nothing.
const LIMITS: QueueLimits = QueueLimits {
    lines: 4096,
    lines_a_minute: 60_000,
};

/// Writes what is left when dropped, for a second at most.
#[derive(Debug)]
#[must_use = "events are not written after it is dropped"]
pub struct StderrLog(Arc<Queue<Vec<u8>>>);

/// Sends events to standard error; `RUST_LOG` selects (`LEVEL`, or `TARGET=LEVEL` with commas between), `info` by
/// default.
///
/// # Errors
/// If no thread can be started.
pub fn init_stderr() -> io::Result<StderrLog> {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref());
    let queue = Arc::new(Queue::new(LIMITS));
    std::thread::Builder::new()
        .name("log-stderr".into())
        .spawn({
            let queue = Arc::clone(&queue);
            move || write_all(&queue, &mut io::stderr())
        })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(Writer(Arc::clone(&queue)));
    let lines = match is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) {
        true => lines.with_ansi(false).event_format(ForJournal).boxed(),
        false => lines
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    if subscriber.try_init().is_err() {
        tracing::debug!("logging was already set up");
    }
    Ok(StderrLog(queue))
}

/// Whether standard error is the journal that `named` is: device and inode of a socket.
fn is_journal(named: Option<&str>) -> bool {
    let Ok(stderr) = nix::sys::stat::fstat(io::stderr()) else {
        return false;
    };
    named == Some(format!("{}:{}", stderr.st_dev, stderr.st_ino).as_str())
}

/// A line for the journal: its priority in front, as `sd-daemon(3)` has it. The journal knows time and program.
#[derive(Debug)]
struct ForJournal;

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// As `syslog(3)` counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// What is `wanted`; the usual if that says nothing, or cannot be understood.
fn filter(wanted: Option<&str>) -> Targets {
    let wanted = wanted.filter(|text| !text.is_empty());
    let wanted = wanted.and_then(|text| text.parse().ok());
    wanted.unwrap_or_else(|| {
        Targets::new()
            .with_default(LevelFilter::INFO)
            .with_target("sqlx", LevelFilter::WARN)
    })
}

impl Drop for StderrLog {
    fn drop(&mut self) {
        self.0.close(PATIENCE);
    }
}

const PATIENCE: Duration = Duration::from_secs(1);

fn write_all(queue: &Queue<Vec<u8>>, out: &mut impl io::Write) {
    loop {
        let work = queue.take(None);
        let mut bytes = Vec::new();
        if work.dropped > 0 {
            bytes.extend(format!("{} lines are missing here\n", work.dropped).into_bytes());
        }
        for line in &work.lines {
            bytes.extend_from_slice(shown(line).as_bytes());
        }
        // There is nobody left to report an error to.
        if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
            queue.lose(work.lines.len() as u64 + work.dropped);
        }
        if work.is_last {
            break;
        }
    }
    queue.end();
}

/// The subscriber escapes control characters of what it is given, and sets colours by such; the other
/// ones that deceive are left to us.
fn shown(line: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(line);
    if text.chars().any(is_invisible) {
        let shown = |c| {
            if is_invisible(c) {
                printable_char(c)
            } else {
                c
            }
        };
        return text.chars().map(shown).collect();
    }
    text
}

/// Each write is an event.
#[derive(Debug, Clone)]
struct Writer(Arc<Queue<Vec<u8>>>);

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let kept = &bytes[..bytes.len().min(MAX_EVENT)];
        self.0.push(Instant::now(), kept.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of an event that are written.
const MAX_EVENT: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn levels_and_targets_are_selected() {
        for usual in [None, Some(""), Some("fos_server=loud")] {
            let usual = filter(usual);
            assert!(usual.would_enable("fos_server::http", &Level::INFO));
            assert!(!usual.would_enable("fos_server::http", &Level::DEBUG));
            assert!(usual.would_enable("sqlx", &Level::WARN));
            assert!(!usual.would_enable("sqlx", &Level::INFO));
        }
        let wanted = filter(Some("warn,fos_server::http=trace"));
        assert!(wanted.would_enable("fos_server::http", &Level::TRACE));
        assert!(wanted.would_enable("fos_server::session", &Level::WARN));
        assert!(!wanted.would_enable("fos_server::session", &Level::INFO));
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        let queue = Arc::new(Queue::new(LIMITS));
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(Writer(Arc::clone(&queue)))
            .with_ansi(false)
            .event_format(ForJournal);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::error!("server: gone");
            tracing::info!(host = 7, "server: is here");
        });
        queue.close(Duration::ZERO);
        let mut out = Vec::new();
        write_all(&queue, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "<3>server: gone\n<6>server: is here host=7\n"
        );
        assert!(!is_journal(None));
        assert!(!is_journal(Some("1:1")));
    }

    #[test]
    fn events_are_written_and_missing_ones_counted() {
        let queue = Arc::new(Queue::new(QueueLimits {
            lines: 2,
            lines_a_minute: 100,
        }));
        let mut writer = Writer(Arc::clone(&queue));
        for text in ["\x1b[33mone\x1b[0m\n", "tw\u{202e}o\n", "three\n"] {
            writer.write_all(text.as_bytes()).unwrap();
        }
        assert!(!queue.close(Duration::ZERO));
        let mut out = Vec::new();
        write_all(&queue, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "1 lines are missing here\n\x1b[33mone\x1b[0m\ntw\u{fffd}o\n"
        );
        assert!(queue.close(Duration::ZERO));
    }
}
