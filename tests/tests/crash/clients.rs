//! Machines and an administrator that keep a server busy. Each machine does what an agent does, to the
//! point of receiving every stream and checking its hash, only the disk is missing; now and then one
//! warns, fails, or claims an end that is none.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

use cast_net::{Interface, ReceiveOptions, ReceiveStatus, Stop};
use fog::KernelArgs;
use fos_api::{SessionView, Stage};
use fos_tests::site::mac;
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

use crate::http::{self, Answer};
use crate::ledger::Deed;
use crate::random::Random;
use crate::world::{Shared, World, is_active};

/// Starts all machines of a world, in sessions of `group` machines, and the administrator.
pub(crate) fn start(world: &mut World, machines: u8, group: usize, random: &mut Random) {
    let mut names = Vec::new();
    for number in 1..=machines {
        let host = world.site.lab().host(usize::from(number) + 1);
        let namespace = format!("/run/netns/{}", host.namespace());
        let machine = Machine {
            shared: Arc::clone(&world.shared),
            name: format!("pc{number}"),
            mac: mac(number),
            address: host.addr(),
            random: random.branch(),
            count: 0,
        };
        names.push(machine.name.clone());
        let name = machine.name.clone();
        world.spawn(&name, move || machine.run(&namespace));
    }
    let administrator = Administrator {
        shared: Arc::clone(&world.shared),
        groups: names
            .chunks(group)
            .map(|names| (names.to_vec(), None))
            .collect(),
        extra: 0,
        random: random.branch(),
    };
    world.spawn("administrator", move || administrator.run());
}

/// Between two requests of one and the same.
const PAUSE: Duration = Duration::from_millis(60);

struct Machine {
    shared: Arc<Shared>,
    name: String,
    mac: String,
    address: Ipv4Addr,
    random: Random,
    /// Texts that were sent: none twice.
    count: u32,
}

/// What a boot script told.
struct Job {
    ticket: String,
    port: u16,
    session: i64,
    /// Hashes of all streams.
    streams: BTreeSet<String>,
}

impl Machine {
    fn run(mut self, namespace: &str) {
        // This thread alone, and those that it starts.
        let namespace = File::open(namespace).unwrap();
        setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
        while !self.shared.is_over() {
            let has_work = self.view("").is_some_and(|view| view.your_task.is_active());
            if !has_work {
                std::thread::sleep(PAUSE);
                continue;
            }
            if let Some(job) = self.boot() {
                self.play(&job);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Fetches the boot script, and finds out whose job it is.
    fn boot(&mut self) -> Option<Job> {
        let arguments = self.boot_script()?;
        let ticket = arguments.ticket()?.to_owned();
        let view = self.view(&ticket)?;
        let is_mine = view.refusal.is_none() && view.state.is_active();
        let job = is_mine.then(|| Job {
            port: arguments.port().unwrap(),
            session: view.session,
            streams: BTreeSet::new(),
            ticket,
        })?;
        let manifest = self.manifest(&job)?;
        let streams = manifest["streams"].as_array()?.iter();
        let streams = streams.map(|stream| stream["blake3"].as_str().unwrap().to_owned());
        let streams = streams.collect();
        Some(Job { streams, ..job })
    }

    fn boot_script(&mut self) -> Option<KernelArgs> {
        let _step = self.shared.step();
        let host = self.name.clone();
        let ticket = String::new();
        let number = self.shared.ledger.begin(Deed::Boot { host, ticket });
        let form = format!("mac0={}&arch=x86_64&platform=pcbios", self.mac);
        let script = http::post("ipxe/boot.php", number, &form).ok()?.body;
        let line = |word| {
            script
                .lines()
                .find_map(|line: &str| line.strip_prefix(word))
        };
        if line("chain ").is_some() {
            // The boot loader asks again.
            self.shared.ledger.asked_again();
            return None;
        }
        let line = line("kernel ")?;
        let arguments = KernelArgs::parse(line);
        let told = arguments.ticket()?.to_owned();
        self.shared.ledger.promised(number, |deed| {
            if let Deed::Boot { ticket, .. } = deed {
                *ticket = told;
            }
        });
        Some(arguments)
    }

    fn manifest(&self, job: &Job) -> Option<Value> {
        let _step = self.shared.step();
        let query = format!("mac={}&ticket={}", self.mac, job.ticket);
        let answer = http::get("fos/manifest", &query).ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// What the server says of this machine's session.
    fn view(&self, ticket: &str) -> Option<SessionView> {
        let _step = self.shared.step();
        let query = format!("mac={}&ticket={ticket}", self.mac);
        let answer = http::get("fos/session", &query).ok()?;
        if answer.status != 200 {
            return None;
        }
        serde_json::from_str(&answer.body).ok()
    }

    fn play(&mut self, job: &Job) {
        if self.random.percent(10) {
            self.claim(job, false);
        }
        if !self.check_in(job) {
            return;
        }
        if self.random.percent(40) {
            self.inventory(job);
        }
        if self.random.percent(30) {
            self.report(job, true);
        }
        if self.random.percent(10) {
            self.claim(job, false);
        }
        if self.random.percent(6) {
            self.report(job, false);
            return;
        }
        let mut received = BTreeSet::new();
        while self.receive(job, &mut received) && !self.finish(job) {}
    }

    /// Asks until it may begin, or has to be restarted.
    fn check_in(&self, job: &Job) -> bool {
        while !self.shared.is_over() {
            let deed = Deed::Go {
                session: job.session,
                host: self.name.clone(),
                address: self.address.to_string(),
            };
            let more = format!("&type=down&agent=fos-agent/0.1.0&address={}", self.address);
            match self.promise(deed, "mc_checkin.php", &(self.form(job) + &more), "##@GO") {
                Ok((_, true)) => return true,
                Ok((answer, false)) if answer.status == 200 => return false,
                _ => std::thread::sleep(PAUSE),
            }
        }
        false
    }

    /// Receives all streams in the order that the server says; false if the job is over.
    fn receive(&mut self, job: &Job, received: &mut BTreeSet<String>) -> bool {
        let mut receiver: Option<Receiver> = None;
        // Views in a row by which the sender of our data is gone.
        let mut gone = 0;
        while !self.shared.is_over() {
            std::thread::sleep(PAUSE);
            if let Some(running) = &receiver {
                match running.done.try_recv() {
                    Ok(Ok(hash)) => {
                        if !job.streams.contains(&hash) {
                            let name = &self.name;
                            let text = format!("{name} received what is no stream of the image");
                            self.shared.ledger.violated(text);
                        }
                        received.insert(hash);
                        receiver = None;
                        continue;
                    }
                    Ok(Err(_)) | Err(TryRecvError::Disconnected) => receiver = None,
                    Err(TryRecvError::Empty) => {}
                }
            }
            let has_data = receiver.as_ref().is_some_and(Receiver::has_data);
            let Some(view) = self.view(&job.ticket) else {
                continue;
            };
            if view.session != job.session || !view.your_task.is_active() {
                return false;
            }
            if let Some(refusal) = view.refusal {
                let (name, text) = (&self.name, refusal.text);
                let text = format!("{name} was told to stop in its own session: {text}");
                self.shared.ledger.violated(text);
                return false;
            }
            let Some(stream) = view.your_stream else {
                if view.stage == Stage::Gathering {
                    continue;
                }
                // Asked for again before the server knew of the end of the same stream: nothing comes for it.
                receiver = receiver.filter(Receiver::has_data);
                if receiver.is_none() {
                    let has_all = received.is_superset(&job.streams);
                    if !has_all {
                        // The server takes a stream for received that is not here.
                        self.report(job, false);
                    }
                    return has_all;
                }
                continue;
            };
            let Some(running) = &receiver else {
                gone = 0;
                receiver = Receiver::open(job.port, self.address, stream);
                continue;
            };
            // A stream further on: what this one lacks is its end only, which is about to come.
            let is_begun_again =
                has_data && view.stage == Stage::Gathering && stream <= running.stream;
            gone = if is_begun_again { gone + 1 } else { 0 };
            if gone > 3 {
                receiver = None;
            }
            match self.random.below(200) {
                0 => self.report(job, true),
                1 => {
                    self.report(job, false);
                    return false;
                }
                2..20 => self.progress(job),
                _ => {}
            }
        }
        false
    }

    /// Reports the end until it is accepted or refused; false if a stream is to be received again, as
    /// the server was killed before it had stored the last acknowledgement.
    fn finish(&mut self, job: &Job) -> bool {
        while !self.shared.is_over() {
            match self.claim(job, true) {
                Some(answer) if answer.says("##") => {
                    if self.random.percent(10) {
                        self.report(job, false);
                    }
                    return true;
                }
                Some(answer) if answer.status == 200 => return true,
                _ => std::thread::sleep(PAUSE),
            }
            let view = self.view(&job.ticket);
            if view.is_some_and(|view| view.your_stream.is_some()) {
                return false;
            }
        }
        true
    }

    /// Reports the end of the job, which is true or not.
    fn claim(&self, job: &Job, is_true: bool) -> Option<Answer> {
        let deed = Deed::Complete {
            session: job.session,
            host: self.name.clone(),
        };
        let (answer, is_accepted) = self
            .promise(deed, "Post_Stage3.php", &self.form(job), "##")
            .ok()?;
        if is_accepted && !is_true {
            let text = format!("{} is complete without having received", self.name);
            self.shared.ledger.violated(text);
        }
        Some(answer)
    }

    fn report(&mut self, job: &Job, is_warning: bool) {
        self.count += 1;
        let text = format!("trouble {} of {}", self.count, self.name);
        let (session, host) = (job.session, self.name.clone());
        let (deed, kind) = match is_warning {
            true => {
                let text = text.clone();
                (Deed::Warn { session, text }, "warning")
            }
            false => {
                let text = text.clone();
                let deed = Deed::Fail {
                    session,
                    host,
                    text,
                };
                (deed, "error")
            }
        };
        let form = format!("{}&type={kind}&text={text}", self.form(job)).replace(' ', "+");
        drop(self.promise(deed, "taskerror.php", &form, "##"));
    }

    fn inventory(&mut self, job: &Job) {
        self.count += 1;
        let serial = format!("{}x{}", self.name, self.count);
        let form = format!("{}&sysserial={}", self.form(job), base64(&serial));
        let host = self.name.clone();
        let deed = Deed::Inventory { host, serial };
        drop(self.promise(deed, "inventory.php", &form, "Done"));
    }

    fn progress(&self, job: &Job) {
        let _step = self.shared.step();
        let form = self.form(job) + "&phase=writing&stream=d1p1.img&detail=some";
        drop(http::post("progress.php", 0, &form));
    }

    fn form(&self, job: &Job) -> String {
        format!("mac={}&ticket={}", self.mac, job.ticket)
    }

    /// Asks for something, and notes whether it is promised.
    fn promise(
        &self,
        deed: Deed,
        path: &str,
        form: &str,
        words: &str,
    ) -> io::Result<(Answer, bool)> {
        let _step = self.shared.step();
        let number = self.shared.ledger.begin(deed);
        let answer = http::post(path, number, form)?;
        let is_promised = answer.says(words);
        if answer.status == 503 {
            self.shared.ledger.asked_again();
        }
        if is_promised {
            self.shared.ledger.promised(number, |_| {});
        }
        Ok((answer, is_promised))
    }
}

/// A stream on its way.
struct Receiver {
    /// That the server expected when this was opened, from 1. What comes may be an earlier one.
    stream: u32,
    stop: Stop,
    status: Arc<ReceiveStatus>,
    done: mpsc::Receiver<Result<String, String>>,
}

impl Receiver {
    /// In the namespace of the calling thread. `None` while a predecessor holds the port.
    fn open(port: u16, own: Ipv4Addr, stream: u32) -> Option<Self> {
        let list = Interface::list().ok()?;
        let interface = list.into_iter().find(|found| found.addr == own)?;
        let mut options = ReceiveOptions::new(interface);
        options.port_base = port;
        options.rendezvous = Some(Ipv4Addr::new(10, 99, 0, 1));
        options.ttl = 32;
        options.transfer.start_timeout = None;
        options.transfer.receive_timeout = None;
        options.transfer.exit_wait = Duration::from_millis(500);
        let stop = Stop::new().ok()?;
        let mut source = cast_net::receive::open(options, stop.clone()).ok()?;
        let status = source.status();
        let (result, done) = mpsc::channel();
        std::thread::spawn(move || {
            let mut hasher = blake3::Hasher::new();
            let mut buffer = vec![0; 1 << 16];
            let read = loop {
                match source.read(&mut buffer) {
                    Ok(0) => break Ok(()),
                    Ok(count) => hasher.update(&buffer[..count]),
                    Err(error) => break Err(error.to_string()),
                };
            };
            let read = read.and_then(|()| source.finish().map_err(|error| error.to_string()));
            // The machine may have given up.
            drop(result.send(read.map(|_| hasher.finalize().to_hex().to_string())));
        });
        Some(Self {
            stream,
            stop,
            status,
            done,
        })
    }

    fn has_data(&self) -> bool {
        self.status.snapshot().data_datagrams > 0
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.stop();
        // The port is free when this returns.
        drop(self.done.recv());
    }
}

/// Deploys, cancels, registers.
struct Administrator {
    shared: Arc<Shared>,
    /// Machines of a session, and its number.
    groups: Vec<(Vec<String>, Option<i64>)>,
    extra: u32,
    random: Random,
}

impl Administrator {
    fn run(mut self) {
        while !self.shared.is_ending() {
            let shared = Arc::clone(&self.shared);
            let step = shared.step();
            self.work();
            drop(step);
            std::thread::sleep(Duration::from_millis(20 + self.random.below(100)));
        }
    }

    fn work(&mut self) {
        let which = usize::try_from(self.random.below(self.groups.len() as u64)).unwrap();
        let (hosts, session) = self.groups[which].clone();
        match self.random.below(20) {
            0 => self.add_host(),
            1 => self.remove(which),
            2 => drop(self.add_image()),
            3 if self.random.percent(30) => {
                if let Some(session) = session {
                    self.promise(
                        Deed::Cancel { session },
                        &format!("POST /sessions/{session}/cancel"),
                        &json!({}),
                    );
                }
            }
            4 if self.random.percent(30) => {
                if let Some(session) = session {
                    let host = hosts[0].clone();
                    let operation = format!("POST /sessions/{session}/hosts/{host}/drop");
                    self.promise(Deed::Drop { session, host }, &operation, &json!({}));
                }
            }
            _ => {
                let is_over = session.is_none_or(|session| self.is_over(session));
                if is_over {
                    self.groups[which].1 = self.deploy(hosts).or(session);
                }
            }
        }
    }

    fn is_over(&self, session: i64) -> bool {
        let operation = format!("GET /sessions/{session}");
        let answer = self.shared.ask(&operation, 0, &json!({}));
        answer.is_ok_and(|answer| {
            let status = answer.json();
            status["sessions"]
                .get(0)
                .is_some_and(|session| !is_active(session))
        })
    }

    fn deploy(&mut self, hosts: Vec<String>) -> Option<i64> {
        let wait = 2 + self.random.below(3);
        let request = json!({ "image": "small", "hosts": hosts, "name": null,
            "max_wait_seconds": wait, "is_shutdown": false });
        let number = self.shared.ledger.begin(Deed::Deploy { hosts, session: 0 });
        let answer = self.shared.ask("POST /sessions", number, &request).ok()?;
        self.note_refusal(&answer);
        if !answer.is_done() {
            return None;
        }
        let found = answer.json()["session"].as_i64()?;
        self.shared.ledger.promised(number, |deed| {
            if let Deed::Deploy { session, .. } = deed {
                *session = found;
            }
        });
        Some(found)
    }

    fn add_host(&mut self) {
        self.extra += 1;
        let name = format!("extra{}", self.extra);
        let mac = format!(
            "02:00:00:01:{:02x}:{:02x}",
            self.extra / 256,
            self.extra % 256
        );
        let request = json!({ "name": name, "macs": [mac], "image": null, "device": "" });
        self.promise(Deed::AddHost { name }, "POST /hosts", &request);
    }

    fn remove(&mut self, which: usize) {
        if self.extra == 0 {
            return;
        }
        let number = 1 + self.random.below(u64::from(self.extra));
        let name = format!("extra{number}");
        let of = |list: &str| format!("DELETE /{list}/{name}");
        let (host, image) = (of("hosts"), of("images"));
        match which % 2 {
            0 => self.promise(Deed::RemoveHost { name }, &host, &json!({})),
            _ => self.promise(Deed::RemoveImage { name }, &image, &json!({})),
        }
    }

    fn add_image(&mut self) -> Option<()> {
        let answer = self.shared.ask("GET /images/small", 0, &json!({})).ok()?;
        let shown = (answer.status == 200).then(|| answer.json())?;
        self.extra += 1;
        let name = format!("extra{}", self.extra);
        let image = json!({ "name": name, "path": shown["path"], "image_type": shown["image_type"],
            "os_id": shown["os_id"], "format": 5 });
        let request = json!({ "image": image, "facts": shown["facts"] });
        self.promise(Deed::AddImage { name }, "POST /images", &request);
        Some(())
    }

    fn promise(&self, deed: Deed, operation: &str, request: &Value) {
        let number = self.shared.ledger.begin(deed);
        let Ok(answer) = self.shared.ask(operation, number, request) else {
            return;
        };
        self.note_refusal(&answer);
        if answer.is_done() {
            self.shared.ledger.promised(number, |_| {});
        }
    }

    /// Machines without a session ask for nothing that could be refused.
    fn note_refusal(&self, answer: &Answer) {
        if answer.status == 503 {
            self.shared.ledger.asked_again();
        }
    }
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut coded = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().enumerate().fold(0u32, |bits, (at, byte)| {
            bits | u32::from(*byte) << (16 - 8 * at)
        });
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            let is_padding = digit > three.len();
            coded.push(match is_padding {
                true => '=',
                false => char::from(DIGITS[value as usize]),
            });
        }
    }
    // In a form a plus is a blank.
    coded.replace('+', "%2B")
}
