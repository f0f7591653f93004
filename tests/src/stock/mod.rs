//! A double of FOG's own server: what its four lines answer over HTTP, with one task for one host.
//!
//! It is made of what a running server was seen to answer, and of the description of the others. Its answers can be
//! replaced one by one, to play what goes wrong. It hands out no files: the image share is a directory.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod http;
mod room;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

pub use http::{Reply, Request};
pub use room::{Room, STREAMS, job};

use crate::netns::Host;

/// The lines of FOG that differ in what a client sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.5.8: no tokens for USB boot, no reports of failures.
    Old,
    /// 1.5.10 up to build 1903.
    Stable,
    /// Builds of 1.5.10 from 2026.
    Late,
    /// 1.6: stream records, reports of failures.
    Next,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Old, Self::Stable, Self::Late, Self::Next];

    /// Answer to `getversion.php?caps=1`.
    fn features(self) -> &'static str {
        match self {
            Self::Old => "1.5.8",
            Self::Stable => "1.5.10",
            Self::Late => "1.5.10.2253",
            Self::Next => "mclvm mcstreamid",
        }
    }

    /// Whether each stream begins with a record.
    #[must_use]
    pub fn has_records(self) -> bool {
        self == Self::Next
    }

    /// Whether it takes reports of failures.
    #[must_use]
    pub fn takes_failures(self) -> bool {
        self == Self::Next
    }
}

/// The double.
#[derive(Debug, Clone)]
pub struct StockServer {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    version: Version,
    /// Kernel arguments of the task, which is active as long as there are some.
    job: Option<String>,
    /// Whether the task was completed, not cancelled.
    is_complete: bool,
    /// Answers that come first, by path; the last one stays.
    scripted: HashMap<String, VecDeque<Reply>>,
    requests: Vec<Request>,
    /// Token of the host, which opens `hostinfo.php` once.
    token: Option<u32>,
    /// What `images.imageSize` has become: field 7 of progress lines, as FOG appends it.
    image_size: Vec<String>,
}

impl StockServer {
    /// Serves on port 80 of `host`, with a task of the kernel arguments `job`.
    ///
    /// # Panics
    /// The network is not there.
    #[must_use]
    pub fn start(host: &Host, version: Version, job: &str) -> Self {
        let state = Arc::new(Mutex::new(State {
            version,
            job: Some(job.to_owned()),
            is_complete: false,
            scripted: HashMap::new(),
            requests: Vec::new(),
            token: None,
            image_size: Vec::new(),
        }));
        let server = Self { state };
        let answering = server.clone();
        let namespace = Path::new("/run/netns").join(host.namespace());
        http::serve(
            &namespace,
            SocketAddr::from((host.addr(), 80)),
            move |request| answering.lock().answer(request),
        );
        server
    }

    /// From now on answers questions for `path` (as `service/mc_checkin.php`) with these, one after the other; the
    /// last one stays.
    ///
    /// # Panics
    /// There is no answer among them.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies: VecDeque<Reply> = replies.into_iter().collect();
        assert!(!replies.is_empty(), "an answer for {path}");
        self.lock().scripted.insert(path.to_owned(), replies);
    }

    /// Another server, which has the same database.
    pub fn change(&self, version: Version, job: &str) {
        let mut state = self.lock();
        state.version = version;
        state.job = Some(job.to_owned());
        state.is_complete = false;
        state.scripted.clear();
        state.requests.clear();
        state.image_size.clear();
    }

    /// Somebody cancels the task.
    pub fn cancel(&self) {
        self.lock().job = None;
    }

    /// Whether the task was completed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lock().is_complete
    }

    /// Everything that was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// How often `path` was asked for.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        let requests = self.requests();
        let path = format!("/fog/{path}");
        requests
            .iter()
            .filter(|request| request.path == path)
            .count()
    }

    /// What deploys have appended to the recorded size of the image.
    #[must_use]
    pub fn image_size(&self) -> Vec<String> {
        self.lock().image_size.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn answer(&mut self, request: Request) -> Reply {
        self.requests.push(request.clone());
        let path = request.path.strip_prefix("/fog/").unwrap_or_default();
        if let Some(replies) = self.scripted.get_mut(path) {
            let next = if replies.len() > 1 {
                replies.pop_front()
            } else {
                replies.front().cloned()
            };
            return next.unwrap_or(Reply::Nothing);
        }
        match path {
            "/index.php" | "index.php" => Reply::text(""),
            "service/getversion.php" => Reply::text(self.version.features()),
            // One routine with two names.
            "service/mc_checkin.php" | "service/Pre_Stage1.php" if self.job.is_some() => {
                Reply::text("##@GO")
            }
            "service/mc_checkin.php" | "service/Pre_Stage1.php" => no_task(),
            "service/inventory.php" => Reply::text("Done"),
            "service/progress.php" => self.progress(&request),
            "service/Post_Stage3.php" => self.complete(),
            "service/blame.php" if self.job.is_some() => Reply::text("##"),
            "service/blame.php" => no_task(),
            "service/taskerror.php" if self.version.takes_failures() => {
                if request.field("type") == Some("error") {
                    self.job = None;
                }
                Reply::text("##")
            }
            "service/ipxe/boot.php" => self.boot_script(),
            "status/hostgetkey.php" if self.version != Version::Old => self.host_key(),
            "service/hostinfo.php" => self.host_info(&request),
            // Any path that is not there.
            _ => match self.version {
                Version::Old => Reply::LoginPage,
                Version::Stable => Reply::Status(403, String::new()),
                Version::Late | Version::Next => {
                    Reply::Status(404, "<html>Not Found</html>".into())
                }
            },
        }
    }

    /// FOG 1.5 completes a task once and does not know it any more; 1.6 remembers it.
    fn complete(&mut self) -> Reply {
        if self.job.take().is_some() {
            self.is_complete = true;
            return Reply::text("##");
        }
        if self.is_complete && self.version == Version::Next {
            return Reply::text("##");
        }
        no_task()
    }

    fn progress(&mut self, request: &Request) -> Reply {
        let line = request
            .field("status")
            .and_then(fog::encoding::decode_base64_text);
        let line = line.unwrap_or_default();
        let fields: Vec<&str> = line.split('@').collect();
        if let Some(size) = fields.get(6).filter(|size| !size.is_empty()) {
            self.image_size.push((*size).to_owned());
        }
        Reply::text("")
    }

    fn boot_script(&self) -> Reply {
        let script = match &self.job {
            Some(job) => format!(
                "#!ipxe\nset fog-ip 10.99.0.1\nkernel bzImage loglevel=4 initrd=init.xz {job}\nimgfetch init.xz\nboot\n"
            ),
            None => {
                "#!ipxe\nmenu\nitem fog.local Boot\n:fog.local\nsanboot --no-describe\n".to_owned()
            }
        };
        Reply::Text(script)
    }

    fn host_key(&mut self) -> Reply {
        if self.job.is_none() {
            return no_task();
        }
        let token = 0x5eed_0000 + u32::try_from(self.requests.len()).unwrap();
        self.token = Some(token);
        Reply::Text(format!("{token:x}"))
    }

    /// The job for a shell, with what no log may have.
    fn host_info(&mut self, request: &Request) -> Reply {
        if request.user_agent.is_some() {
            return Reply::text("Cannot view from browser");
        }
        let expected = self.token.take().map(|token| format!("{token:x}"));
        let is_known =
            self.version == Version::Old || request.field("hosttoken") == expected.as_deref();
        let Some(job) = self.job.as_ref().filter(|_| is_known) else {
            return Reply::text("#!Invalid token or task");
        };
        let mut lines = String::new();
        for (name, value) in job.split(' ').filter_map(|word| word.split_once('=')) {
            if name != "web" {
                lines += &format!("[[ -z ${name} ]] && export {name}='{value}'\n");
            }
        }
        lines += &format!("[[ -z $hostadpass ]] && export hostadpass='{SECRET}'\n");
        Reply::Text(lines)
    }
}

fn no_task() -> Reply {
    Reply::text("No Active Task found for Host: LAB-01 (02:00:00:00:00:01)")
}

/// The password of the domain, which `hostinfo.php` hands out.
pub const SECRET: &str = "It'\\''s-secret";
