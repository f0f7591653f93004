//! Hosts that ask: a thread each, which sleeps most of the time.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

/// A machine of the room.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) mac: String,
    address: Ipv4Addr,
    /// What its boot script said.
    ticket: Option<String>,
}

impl Host {
    pub(super) fn new(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        Self {
            name: format!("LAB-{number:04}"),
            mac: format!("52:54:00:be:{high:02x}:{low:02x}"),
            // Neither the server's nor one that ends with 0.
            address: Ipv4Addr::from(
                u32::from(Ipv4Addr::new(127, 0, 16, 1))
                    + u32::from(number / 250) * 256
                    + u32::from(number % 250),
            ),
            ticket: None,
        }
    }

    /// Fetches the boot script and keeps its ticket.
    pub(super) fn boot(&mut self, server: SocketAddr) -> Result<()> {
        let query = format!("mac0={}&arch=x86_64&platform=efi", self.mac);
        let mut client = Client::new(server, self.address, Style::Stock);
        let script = client.get(&format!("ipxe/boot.php?{query}"))?;
        ensure!(
            script.contains("\nkernel "),
            "the boot script boots no kernel: {script}"
        );
        self.ticket = ticket(&script);
        Ok(())
    }

    /// Reports this as what it does.
    pub(super) fn say(&self, server: SocketAddr, detail: &str) -> Result<()> {
        let mut client = Client::new(server, self.address, Style::Stock);
        let (identity, detail) = (self.identity(), detail.replace(' ', "+"));
        let form = format!("{identity}&status={STATUS}&phase=wait&stream=d1p1.img&detail={detail}");
        let answer = client.post("progress.php", &form)?;
        ensure!(answer.is_empty(), "the report was refused: {answer}");
        Ok(())
    }

    /// The fields that are in each request.
    fn identity(&self) -> String {
        let ticket = self.ticket.iter().map(|ticket| format!("&ticket={ticket}"));
        let ticket: String = ticket.collect();
        format!(
            "mac={}&sysuuid=4c4c4544-0000-2010-8020-{}{ticket}",
            self.mac,
            self.mac.replace(':', "")
        )
    }

    /// Asks; answers after which time the server wants to be asked again, if it says so.
    fn ask(&self, client: &mut Client, question: Question) -> Result<Option<Duration>> {
        let identity = self.identity();
        match (question, client.style) {
            (Question::CheckIn | Question::CheckInVain, style) => {
                let more = match style {
                    Style::Agent => format!("&agent=fos-agent/0.1.0&address={}", self.address),
                    Style::Stock => String::new(),
                };
                let form = format!("{identity}&type=down{more}");
                let answer = client.post("mc_checkin.php", &form)?;
                let is_let_in = answer.trim() == "##@GO";
                ensure!(
                    is_let_in == (question == Question::CheckIn),
                    "the check-in was answered with {answer}"
                );
            }
            (Question::Progress, _) => {
                let form = format!(
                    "{identity}&status={STATUS}&phase=wait&stream=d1p1.img&detail=waiting+for+the+sender"
                );
                let answer = client.post("progress.php", &form)?;
                ensure!(answer.is_empty(), "the report was refused: {answer}");
            }
            (Question::Session, _) => {
                let answer = client.get(&format!("fos/session?{identity}"))?;
                ensure!(answer.starts_with('{'), "no view of the session: {answer}");
                let seconds = answer
                    .split_once("\"ask_again_seconds\":")
                    .map(|(_, rest)| rest.split(|digit: char| !digit.is_ascii_digit()).next());
                let seconds = seconds.flatten().and_then(|text| text.parse().ok());
                return Ok(seconds.map(Duration::from_secs));
            }
        }
        Ok(None)
    }
}

/// A status line of an agent that has nothing yet.
const STATUS: &str = "ICAwLjAwTUIvbWluQDAwOjAwOjAwQDAwOjAwOjAwQDAuMDAgQkAxLjAwIEJAICAwLjAwQDEK";

/// The ticket among the kernel's arguments.
fn ticket(script: &str) -> Option<String> {
    let (_, rest) = script.split_once("fosticket=")?;
    let ticket: String = rest
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    (!ticket.is_empty()).then_some(ticket)
}

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// One connection, as long as the server keeps it.
    Agent,
    /// A connection for each request.
    Stock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    CheckIn,
    /// The same, where there is no task.
    CheckInVain,
    Progress,
    Session,
}

/// What a host asks again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    question: Question,
    every: Duration,
}

impl Habit {
    pub(super) const CHECK_IN: Self = Self::new(Question::CheckIn, 5);
    pub(super) const CHECK_IN_VAIN: Self = Self::new(Question::CheckInVain, 5);
    pub(super) const PROGRESS: Self = Self::new(Question::Progress, 3);
    pub(super) const RARE_PROGRESS: Self = Self::new(Question::Progress, 30);
    pub(super) const SESSION: Self = Self::new(Question::Session, 2);

    const fn new(question: Question, seconds: u64) -> Self {
        Self {
            question,
            every: Duration::from_secs(seconds),
        }
    }

    fn name(self) -> &'static str {
        match self.question {
            Question::CheckIn | Question::CheckInVain => "check-in",
            Question::Progress => "progress",
            Question::Session => "session",
        }
    }
}

/// How long answers took.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// For each habit, sorted.
    pub(super) times: Vec<(&'static str, Vec<Duration>)>,
    pub(super) failed: u64,
    pub(super) first_failure: String,
}

impl Tally {
    fn new(habits: &[Habit]) -> Self {
        Self {
            times: habits
                .iter()
                .map(|habit| (habit.name(), Vec::new()))
                .collect(),
            ..Self::default()
        }
    }

    fn add(&mut self, other: Self) {
        for ((_, mine), (_, theirs)) in self.times.iter_mut().zip(other.times) {
            mine.extend(theirs);
        }
        if self.failed == 0 {
            self.first_failure = other.first_failure;
        }
        self.failed += other.failed;
    }

    /// All times together, sorted.
    pub(super) fn all(&self) -> Vec<Duration> {
        let times = self.times.iter().flat_map(|(_, times)| times);
        let mut all: Vec<Duration> = times.copied().collect();
        all.sort_unstable();
        all
    }
}

/// Hosts at work. Dropping it ends them.
pub(super) struct Asking {
    threads: Vec<JoinHandle<Tally>>,
    stop: Arc<AtomicBool>,
    tally: Tally,
}

/// Each host begins at another moment. Only answers to what was due in `measured` count, and all ends
/// with that.
pub(super) fn start(
    hosts: &[Host],
    server: SocketAddr,
    style: Style,
    habits: &[Habit],
    measured: Range<Instant>,
) -> Result<Asking> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut asking = Asking {
        threads: Vec::new(),
        stop: Arc::clone(&stop),
        tally: Tally::new(habits),
    };
    let now = Instant::now();
    let count = u32::try_from(hosts.len()).context("too many hosts")?;
    for (number, host) in (0..count).zip(hosts) {
        let host = host.clone();
        let plan = habits
            .iter()
            .map(|habit| (now + habit.every * number / count, *habit))
            .collect();
        let stop = Arc::clone(&stop);
        let measured = measured.clone();
        let client = Client::new(server, host.address, style);
        let thread = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || live(&host, client, plan, &measured, &stop))
            .context("starting a thread")?;
        asking.threads.push(thread);
    }
    Ok(asking)
}

const STACK: usize = 128 << 10;

impl Asking {
    /// Waits for the end of all.
    pub(super) fn finish(mut self) -> Result<Tally> {
        for thread in std::mem::take(&mut self.threads) {
            match thread.join() {
                Ok(tally) => self.tally.add(tally),
                Err(_) => bail!("a host panicked"),
            }
        }
        let mut tally = std::mem::take(&mut self.tally);
        for (_, times) in &mut tally.times {
            times.sort_unstable();
        }
        Ok(tally)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One host. What is late counts from the moment when it was due, so that a server that stands still
/// is not asked less by agents.
fn live(
    host: &Host,
    mut client: Client,
    mut plan: Vec<(Instant, Habit)>,
    measured: &Range<Instant>,
    stop: &AtomicBool,
) -> Tally {
    let habits: Vec<Habit> = plan.iter().map(|(_, habit)| *habit).collect();
    let mut tally = Tally::new(&habits);
    loop {
        let next = plan
            .iter_mut()
            .zip(&mut tally.times)
            .min_by_key(|((due, _), _)| *due);
        let Some(((due, habit), (_, times))) = next else {
            return tally;
        };
        let begun = *due;
        if begun >= measured.end {
            return tally;
        }
        thread::sleep(begun.saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Relaxed) || Instant::now() >= measured.end {
            return tally;
        }
        let asked = host.ask(&mut client, habit.question);
        let wanted = asked.as_ref().ok().copied().flatten();
        let pause = habit.every.max(wanted.unwrap_or_default());
        *due = match client.style {
            Style::Agent => *due + pause,
            // FOG's client sleeps when it has its answer.
            Style::Stock => Instant::now() + pause,
        };
        match asked {
            Ok(_) if measured.contains(&begun) => times.push(begun.elapsed()),
            Ok(_) => {}
            Err(error) => {
                if tally.failed == 0 {
                    tally.first_failure = format!("{} of {}: {error:#}", habit.name(), host.name);
                }
                tally.failed += 1;
            }
        }
    }
}

/// Each host checks in, as an agent does before it waits.
pub(super) fn check_in_once(hosts: &[Host], server: SocketAddr) -> Result<()> {
    for host in hosts {
        let mut client = Client::new(server, host.address, Style::Agent);
        host.ask(&mut client, Question::CheckIn)
            .with_context(|| format!("{} checks in", host.name))?;
    }
    Ok(())
}

/// Whether a server answers.
pub(super) fn is_there(server: SocketAddr) -> bool {
    let mut client = Client::new(server, Ipv4Addr::LOCALHOST, Style::Stock);
    client.get("getversion.php").is_ok()
}

/// As much HTTP as our own server needs.
#[derive(Debug)]
struct Client {
    server: SocketAddr,
    own: Ipv4Addr,
    style: Style,
    kept: Option<TcpStream>,
}

impl Client {
    fn new(server: SocketAddr, own: Ipv4Addr, style: Style) -> Self {
        Self {
            server,
            own,
            style,
            kept: None,
        }
    }

    fn get(&mut self, path: &str) -> Result<String> {
        self.ask("GET", path, "")
    }

    fn post(&mut self, path: &str, form: &str) -> Result<String> {
        self.ask("POST", path, form)
    }

    fn ask(&mut self, method: &str, path: &str, form: &str) -> Result<String> {
        let request = format!(
            "{method} /fog/service/{path} HTTP/1.1\r\nhost: {}\r\naccept: */*\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            self.server,
            form.len()
        );
        if let Some(kept) = self.kept.take()
            && let Some(answer) = self.exchange(kept, &request)?
        {
            return answer.text();
        }
        let fresh = self.connect().context("connecting")?;
        match self.exchange(fresh, &request)? {
            Some(answer) => answer.text(),
            None => bail!("the server closed the connection without an answer"),
        }
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((self.own, 0)).into())?;
        socket.connect_timeout(&self.server.into(), PATIENCE)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    }

    /// `None` if the server closed the connection before it began to answer.
    fn exchange(&mut self, mut stream: TcpStream, request: &str) -> Result<Option<Answer>> {
        if let Err(error) = stream.write_all(request.as_bytes()) {
            return is_closed(&error)
                .then_some(None)
                .ok_or(error)
                .context("asking");
        }
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = match stream.read(&mut buffer) {
                Ok(0) => 0,
                Ok(read) => read,
                Err(error) if bytes.is_empty() && is_closed(&error) => 0,
                Err(error) => return Err(error).context("waiting for the answer"),
            };
            if read == 0 {
                ensure!(bytes.is_empty(), "the answer ends too early");
                return Ok(None);
            }
            bytes.extend_from_slice(&buffer[..read]);
            ensure!(bytes.len() < MAX_ANSWER, "the answer is too long");
            if let Some(answer) = Answer::parse(&bytes)? {
                if self.style == Style::Agent && !answer.closes {
                    self.kept = Some(stream);
                }
                return Ok(Some(answer));
            }
        }
    }
}

fn is_closed(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    closes: bool,
    body: String,
}

impl Answer {
    /// `None` if it is not whole yet.
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("not HTTP: {head}"))?;
        let field = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            let found = fields.find(|(field, _)| *field == name)?;
            Some(found.1.trim())
        };
        let len = field("content-length").context("an answer without a length")?;
        let len: usize = len.parse().context("the length of the answer")?;
        let body = &bytes[end + 4..];
        Ok((body.len() >= len).then(|| Self {
            status,
            closes: field("connection") == Some("close"),
            body: String::from_utf8_lossy(body).into_owned(),
        }))
    }

    fn text(self) -> Result<String> {
        ensure!(self.status == 200, "status {}: {}", self.status, self.body);
        Ok(self.body)
    }
}

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_ANSWER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_an_address_of_its_own() {
        let mut addresses: Vec<Ipv4Addr> = (0..4000).map(|n| Host::new(n).address).collect();
        assert!(addresses.iter().all(Ipv4Addr::is_loopback));
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 4000);
    }

    #[test]
    fn a_ticket_is_found_where_there_is_one() {
        assert_eq!(
            ticket("kernel bzImage a=1 fosticket=00ff\nboot"),
            Some("00ff".into())
        );
        assert_eq!(ticket("kernel bzImage a=1"), None);
    }

    #[test]
    fn an_answer_is_whole_when_its_length_is_there() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n##@GO";
        for len in 0..whole.len() {
            assert_eq!(Answer::parse(&whole[..len]).unwrap(), None, "{len}");
        }
        let answer = Answer {
            status: 200,
            closes: true,
            body: "##@GO".into(),
        };
        assert_eq!(Answer::parse(whole).unwrap(), Some(answer));
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
