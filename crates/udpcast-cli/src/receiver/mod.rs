//! `udp-receiver`: receives one stream into a file or to standard output.

mod arguments;
mod output;
mod silence;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, Seek};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use cast_net::udpcast::receiver::ReceiveFailure;
use cast_net::{
    Interface, ReceiveError, ReceivePhase, ReceiveSnapshot, ReceiveStatus, ReceivedStream, Stop,
};

use self::arguments::Arguments;
use self::output::Output;
use self::silence::Silences;
use crate::keyboard::{Key, Keyboard};
use crate::messages::{Messages, notice_text, say};
use crate::pipe::{Failed, Line};
use crate::signals::{Reaction, Signals};
use crate::waits::{Link, ReceiverWaits};
use crate::{Refusal, numbers};

/// Runs `udp-receiver` with `args` (without the program's name), as a part of the program `host`. Call
/// it before any thread is started.
///
/// Ends with 0 when the stream arrived whole and was written, with the status of the pipe program if
/// that failed, 255 for an address that is none and when no sender was found in time, 1 for everything
/// else (also for a sender that sent nothing), or by the signal that ended it.
#[must_use]
pub fn udp_receiver(args: &[OsString], host: &str) -> ExitCode {
    let arguments: Arguments = match crate::parse(args) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    if arguments.license {
        return crate::print_license("udp-receiver");
    }
    match run(&arguments, host) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!(
                "udp-receiver: {}",
                readable::chain(error.as_ref())
            ));
            status_of(&error)
        }
    }
}

fn status_of(error: &anyhow::Error) -> ExitCode {
    if error.is::<Refusal>() {
        return ExitCode::from(NO_SENDER);
    }
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let receive = inner.and_then(|inner| inner.downcast_ref::<ReceiveError>());
    if let Some(ReceiveError::Failed(ReceiveFailure::NoSender(..))) = receive {
        return ExitCode::from(NO_SENDER);
    }
    let pipe = inner.and_then(|inner| inner.downcast_ref::<Failed>());
    let code = pipe
        .and_then(|failed| failed.status.code())
        .and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Status for no sender in time, and for addresses that are none.
const NO_SENDER: u8 = 255;

fn run(arguments: &Arguments, host: &str) -> anyhow::Result<()> {
    let options = arguments.options()?;
    let line = arguments.pipe.as_deref().map(Line::new).transpose()?;
    let has_line = line.is_some();
    say(&format!(
        "Udp-receiver {} ({host})",
        env!("CARGO_PKG_VERSION")
    ));
    let period = (!arguments.no_progress).then(|| Duration::from_millis(arguments.stat_period));
    let mut messages = Messages::new(arguments.log.as_deref(), period);
    // Opened first: a sender shall not wait for somebody who cannot write.
    let mut output = Output::open(arguments.file.as_deref(), arguments.sync, line)?;
    let is_position_shown = match arguments.print_uncompressed_position {
        Some(flag) => flag != 0,
        None => has_line && output.is_seekable(),
    };
    let handle = is_position_shown.then(|| output.handle()).transpose()?;
    let Interface { name, addr, .. } = &options.interface;
    let kind = if has_line { "Compressed " } else { "" };
    messages.note(&format!(
        "{kind}UDP receiver for {} at {addr} on {name}",
        output.name
    ));
    let link = Link::of(&options.interface);
    let stop = Stop::new()?;
    let signals = watch_signals(stop.clone())?;
    let receive_timeout = options.transfer.receive_timeout;
    let mut stream = cast_net::receive::open(options, stop.clone())?;
    let mut reporter = Reporter {
        messages,
        handle,
        keyboard: None,
        silences: Silences::new(receive_timeout),
        waits: ReceiverWaits::default(),
        link,
    };
    if !arguments.nokbd && !arguments.passive {
        reporter.keyboard = watch_keyboard(&stream, stop);
    }
    let status = stream.status();
    let end = Arc::clone(&status);
    let result = thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        let reporter = &mut reporter;
        thread::Builder::new()
            .name("report".into())
            .spawn_scoped(scope, move || reporter.watch(&status, &is_done))?;
        let result = copy(&mut stream, &mut output);
        drop(done);
        result
    });
    let result = match result {
        Ok(()) => stream.finish().map_err(Into::into),
        Err(error) => {
            // Leaves the transfer before anything else is waited for.
            drop(stream);
            Err(error)
        }
    };
    // Ends the pipe program if it has not got everything.
    drop(output);
    match result {
        Ok(report) => {
            let time = report.transfer_time.unwrap_or_default();
            reporter.progress(true, report.bytes, time);
            if let Some(strays) = crate::strays(&report.statistics.ignored) {
                reporter.messages.note(&strays);
            }
            reporter.messages.complete();
            Ok(())
        }
        Err(error) => {
            reporter.messages.end_progress();
            let ignored = end.snapshot().ignored;
            if ignored > 0 {
                let text = format!("{ignored} datagrams were heard that meant nothing here");
                reporter.messages.note(&text);
            }
            signals.obey();
            Err(error)
        }
    }
}

/// Every signal that ends the program says goodbye to the sender first.
fn watch_signals(stop: Stop) -> anyhow::Result<Signals> {
    let react = move |signal| {
        say(&format!("Signal {} ({signal})", signal as i32));
        stop.stop();
        Reaction::End
    };
    Signals::watch(react, || ()).context("watching signals")
}

/// Any key asks the sender to start, `q` ends the program.
fn watch_keyboard(stream: &ReceivedStream, stop: Stop) -> Option<Keyboard> {
    let control = stream.control();
    let pressed = move |key| match key {
        Key::Any | Key::End => {
            say("Asking the sender to start.");
            control.go();
        }
        Key::Quit => stop.stop(),
    };
    match Keyboard::on_stdin(pressed) {
        Ok(keyboard) => Some(keyboard),
        Err(error) => {
            say(&format!("no keyboard ({error}); going on without"));
            None
        }
    }
}

/// Tells how it goes.
struct Reporter {
    messages: Messages,
    /// The output, if its position is shown.
    handle: Option<File>,
    /// Until data comes.
    keyboard: Option<Keyboard>,
    silences: Silences,
    waits: ReceiverWaits,
    link: Link,
}

impl Reporter {
    /// Tells of the connection and shows progress until the other end of `is_done` goes.
    fn watch(&mut self, status: &ReceiveStatus, is_done: &mpsc::Receiver<()>) {
        let mut told = None;
        // When data last waited for the output: the sender had to wait, too.
        let mut held = None;
        let mut noticed = 0;
        loop {
            let is_over = is_done.recv_timeout(LOOK_PERIOD) != Err(RecvTimeoutError::Timeout);
            let now = status.snapshot();
            let time = Instant::now();
            let change = self.link.look(time);
            let wait = self.waits.look(&now, &self.link, time);
            for text in change.into_iter().chain(wait) {
                self.messages.record(&text);
            }
            if told != now.connection {
                told = now.connection;
                self.tell_connection(&now);
            }
            for notice in status.notices_after(noticed) {
                noticed += 1;
                self.messages.record(&notice_text(&notice));
            }
            if let ReceivePhase::Receiving { since, sender, .. } = now.phase {
                self.keyboard = None;
                if now.slices_waiting > 0 {
                    held = Some(Instant::now());
                }
                let last = now.last_packet.unwrap_or(since).max(held.unwrap_or(since));
                if let Some(text) = self.silences.look(*sender.ip(), last.elapsed(), &self.link) {
                    self.messages.record(&text);
                }
                self.progress(false, now.bytes, since.elapsed());
            }
            // Nothing is due from the sender any more, whether it is there or not.
            if let ReceivePhase::Arrived { since, .. } = now.phase {
                self.keyboard = None;
                self.progress(false, now.bytes, since.elapsed());
            }
            if is_over {
                break;
            }
        }
        self.keyboard = None;
    }

    fn tell_connection(&mut self, now: &ReceiveSnapshot) {
        let Some((sender, client)) = now.connection else {
            return;
        };
        if let Some(capabilities) = now.capabilities {
            let capabilities = capabilities.0;
            self.messages
                .note(&format!("received message, cap={capabilities:08x}"));
        }
        self.messages
            .note(&format!("Connected as {client} to {}", sender.ip()));
        if let Some(group) = now.data_group {
            self.messages.note(&format!("Listening to group {group}"));
        }
        if self.keyboard.is_some() && matches!(now.phase, ReceivePhase::Connected { .. }) {
            self.messages
                .tell("Press any key to start the transfer, q to quit.");
        }
    }

    fn progress(&mut self, is_last: bool, bytes: u64, time: Duration) {
        let position = self
            .handle
            .as_mut()
            .and_then(|handle| handle.stream_position().ok());
        self.messages
            .progress(is_last, progress(bytes, time, position));
    }
}

const LOOK_PERIOD: Duration = Duration::from_millis(100);

fn progress(bytes: u64, time: Duration, position: Option<u64>) -> String {
    let hundredths = u128::from(bytes) * 800 / time.as_micros().max(1);
    let rate = match time.is_zero() {
        true => "***.**".to_owned(),
        false => format!("{:3}.{:02}", hundredths / 100, hundredths % 100),
    };
    format!(
        "bytes={} ({rate} Mbps){}",
        numbers::grouped(bytes),
        position.map(numbers::grouped).unwrap_or_default()
    )
}

fn copy(stream: &mut ReceivedStream, output: &mut Output) -> anyhow::Result<()> {
    loop {
        let bytes = stream.fill_buf()?;
        if bytes.is_empty() {
            return output.finish();
        }
        output.write(bytes)?;
        let count = bytes.len();
        stream.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_looks_as_in_udpcast() {
        let line = progress(300_000, Duration::from_micros(506_329), None);
        assert_eq!(line, "bytes=     300 000  (  4.74 Mbps)");
        assert_eq!(
            progress(0, Duration::ZERO, Some(632)),
            format!(
                "bytes={0} (***.** Mbps){1}632 ",
                " ".repeat(15),
                " ".repeat(10)
            )
        );
    }
}
