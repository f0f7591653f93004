//! `udp-sender`: sends a file or standard input to many receivers.

mod arguments;
mod json;
mod lines;
mod narrate;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;

use cast_net::udpcast::sender::{GiveUpReason, SenderEvent};
use cast_net::{NextEvent, SendControl, SendError, SendEvent, SendOptions};

use self::arguments::Arguments;
use self::json::Json;
use self::lines::Lines;
use self::narrate::Narrator;
use crate::keyboard::{Key, Keyboard};
use crate::messages::{Messages, say};
use crate::pipe::{Filtered, Line};
use crate::signals::{Reaction, Signals};
use crate::{Refusal, daemon};

/// Runs `udp-sender` with `args` (without the program's name), as a part of the program `host`. Call
/// it before any thread is started.
///
/// Ends with 0 when the stream was sent and somebody has it, 255 for addresses that are none, 1 for
/// everything else, or by the signal that ended it.
#[must_use]
pub fn udp_sender(args: &[OsString], host: &str) -> ExitCode {
    let mut arguments: Arguments = match crate::parse(args) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    arguments.take_file();
    if arguments.license {
        return crate::print_license("udp-sender");
    }
    if arguments.kill {
        return daemon::end_other(arguments.pid_file.as_deref());
    }
    let result = run(&arguments, host);
    daemon::remove_pid_file();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("udp-sender: {}", readable::chain(error.as_ref())));
            match error.downcast_ref::<Refusal>() {
                Some(_) => ExitCode::from(255),
                None => ExitCode::FAILURE,
            }
        }
    }
}

/// What threads beside the transfer do to it.
#[derive(Clone)]
struct Steering {
    control: SendControl,
    has_quit: Arc<AtomicBool>,
    is_sending: Arc<AtomicBool>,
    /// The end of standard input was the key that started it.
    has_input_ended: Arc<AtomicBool>,
}

fn run(arguments: &Arguments, host: &str) -> anyhow::Result<()> {
    let options = arguments.options()?;
    let line = arguments.pipe_line()?;
    if let Some(line) = &line {
        line.check()?;
    }
    if let Some(fec) = arguments.fec {
        let (stripes, redundancy) = (fec.stripes(), fec.redundancy());
        let size = fec.slice_size() / stripes.max(1);
        say(&format!(
            "stripes={stripes} redund={redundancy} stripesize={size}"
        ));
    }
    say(&format!(
        "Udp-sender {} ({host})",
        env!("CARGO_PKG_VERSION")
    ));
    // Looked at while somebody is there to see the error.
    open(arguments.file.as_deref())?;
    if arguments.is_background() {
        daemon::to_background(arguments.pid_file.as_deref())?;
    }
    let steering = Steering {
        control: SendControl::new()?,
        has_quit: Arc::default(),
        is_sending: Arc::default(),
        has_input_ended: Arc::default(),
    };
    let signals = watch_signals(&steering)?;
    let mut lines = match arguments.json {
        true => Some(Lines::start(io::stdout()).context("a thread for standard output")?),
        false => None,
    };
    loop {
        let lines = lines.as_mut();
        let result = transfer(arguments, &options, line.as_ref(), &steering, lines);
        signals.obey();
        let result = result?;
        if arguments.daemon_mode == 0 || steering.has_quit.load(Ordering::SeqCst) {
            return result;
        }
    }
}

/// SIGTERM waits for the end of a transfer that has begun; the others end it, so that no receiver waits.
fn watch_signals(steering: &Steering) -> anyhow::Result<Signals> {
    let steering = steering.clone();
    let react = move |signal| {
        if signal == Signal::SIGTERM && steering.is_sending.load(Ordering::SeqCst) {
            Reaction::Delay
        } else {
            if steering.is_sending.load(Ordering::SeqCst) {
                say(&format!(
                    "interrupted ({signal}): the receivers are sent away"
                ));
            }
            steering.control.interrupt();
            Reaction::End
        }
    };
    Signals::watch(react, || ()).context("watching signals")
}

/// The inner result is that of the transfer; the outer error, of a kind that the next transfer would
/// meet again.
fn transfer(
    arguments: &Arguments,
    options: &SendOptions,
    line: Option<&Line>,
    steering: &Steering,
    mut lines: Option<&mut Lines>,
) -> anyhow::Result<anyhow::Result<()>> {
    let has_progress = !arguments.no_progress && !arguments.is_background();
    let period = has_progress.then(|| Duration::from_millis(arguments.stat_period));
    let messages = Messages::new(arguments.log.as_deref(), period);
    // Opened first: receivers shall not wait for a file that cannot be read.
    let (file, name) = open(arguments.file.as_deref())?;
    let input = shown_input(arguments, &file)?;
    let source: Box<dyn Read + Send> = match line {
        Some(line) => Box::new(Filtered::start(line, file)?),
        None => Box::new(file),
    };
    let mut narrator = Narrator::new(messages, arguments, options, input);
    narrator.introduce(arguments, options, &name);
    // An input at its end starts one transfer, but not one after the other.
    let is_watched =
        arguments.daemon_mode == 0 || (arguments.daemon_mode == 1 && io::stdin().is_terminal());
    let mut keyboard = (!arguments.nokbd && is_watched)
        .then(|| watch_keyboard(arguments.file.is_some(), steering))
        .flatten();
    if keyboard.is_some() && arguments.asynchronous {
        narrator.prompt();
    }
    let mut json = Json::default();
    let sent = cast_net::send::open(options.clone(), source, steering.control.clone());
    let result = sent.and_then(|mut sent| {
        loop {
            let event = match sent.next_event_within(LOOK_PERIOD) {
                NextEvent::Event(event) => Some(event),
                NextEvent::Nothing => None,
                NextEvent::Over => break,
            };
            narrator.look(Instant::now());
            let Some(event) = event else {
                continue;
            };
            if let SendEvent::Protocol(SenderEvent::Started { .. }) = event {
                steering.is_sending.store(true, Ordering::SeqCst);
                keyboard = None;
            }
            if let Some(lines) = &mut lines {
                lines.put(json.event(&event));
            }
            narrator.tell(&event);
            if let SendEvent::Protocol(SenderEvent::Joined { .. }) = event
                && keyboard.is_some()
            {
                narrator.prompt();
            }
        }
        sent.finish()
    });
    drop(keyboard);
    if let Some(lines) = lines {
        lines.conclude(&json.end(&result), READER_PATIENCE);
    }
    steering.is_sending.store(false, Ordering::SeqCst);
    let error = match result {
        Ok(report) => {
            narrator.conclude(&report);
            narrator.complete();
            return Ok(Ok(()));
        }
        Err(SendError::Stopped { .. }) if steering.has_quit.load(Ordering::SeqCst) => {
            return Ok(Err(anyhow::anyhow!("quit")));
        }
        Err(error) => error,
    };
    if let SendError::GaveUp { report, .. }
    | SendError::Stopped { report }
    | SendError::Aborted { report, .. } = &error
    {
        narrator.conclude(report);
    }
    if arguments.daemon_mode > 0 {
        narrator.failed(&format!("transfer failed: {error}"));
    }
    let is_lasting = matches!(
        error,
        SendError::Config(_)
            | SendError::Socket(_)
            | SendError::System { .. }
            | SendError::Input(_)
            | SendError::Network(_)
            | SendError::Panicked(_)
    );
    let is_started_too_early = matches!(
        error,
        SendError::GaveUp {
            reason: GiveUpReason::NoParticipants,
            ..
        }
    );
    if is_started_too_early && steering.has_input_ended.load(Ordering::SeqCst) {
        let hint = "standard input has ended, which counts as a key press, as with the original; with \
                    --nokbd it is not looked at";
        return Ok(Err(anyhow::Error::new(error).context(hint)));
    }
    match is_lasting {
        true => Err(error.into()),
        false => Ok(Err(error.into())),
    }
}

/// How long the end waits for a reader of standard output that has fallen behind.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// How soon a wait or a link that goes is seen.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

fn open(path: Option<&Path>) -> anyhow::Result<(File, String)> {
    match path {
        Some(path) => {
            let name = path.display().to_string();
            let file = File::open(path).with_context(|| format!("opening {name}"))?;
            anyhow::ensure!(!file.metadata()?.is_dir(), "{name} is a directory");
            Ok((file, name))
        }
        None => Ok((
            io::stdin().as_fd().try_clone_to_owned()?.into(),
            "(stdin)".into(),
        )),
    }
}

/// A second handle of the input, which shares its position, if the position is to be shown.
fn shown_input(arguments: &Arguments, file: &File) -> io::Result<Option<File>> {
    let mut input = file.try_clone()?;
    let is_shown = match arguments.print_uncompressed_position {
        Some(flag) => flag != 0,
        None => arguments.pipe.is_some() && input.stream_position().is_ok(),
    };
    Ok(is_shown.then_some(input))
}

fn watch_keyboard(is_stdin_free: bool, steering: &Steering) -> Option<Keyboard> {
    let steering = steering.clone();
    let pressed = move |key| match key {
        Key::Any => steering.control.start_now(),
        Key::End => {
            steering.has_input_ended.store(true, Ordering::SeqCst);
            steering.control.start_now();
        }
        Key::Quit => {
            steering.has_quit.store(true, Ordering::SeqCst);
            steering.control.stop();
        }
    };
    let keyboard = match is_stdin_free {
        true => Keyboard::on_stdin(pressed),
        false => Keyboard::on_terminal(pressed),
    };
    match keyboard {
        Ok(keyboard) => Some(keyboard),
        Err(error) => {
            say(&format!("no keyboard ({error}); going on without"));
            None
        }
    }
}
