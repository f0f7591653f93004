//! Where the server is: at the address of the kernel arguments, or, once that has stopped to answer, at that of another
//! server of the site, which goes on with the session.

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fos_api::{SessionView, Site};
use reqwest::Url;

use super::CallError;

/// The servers of a site, and which of them is asked.
#[derive(Debug)]
pub(crate) struct Places(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// That of the kernel arguments first; empty if it cannot be understood.
    bases: Vec<Url>,
    /// The position of the one that is asked.
    at: usize,
    /// Calls without an answer since the last one with one.
    failures: u32,
}

impl Places {
    /// One server alone.
    pub(crate) fn new(web: &str) -> Self {
        let bases = web.parse().into_iter().collect();
        Self(Mutex::new(Inner {
            bases,
            ..Inner::default()
        }))
    }

    /// Where requests go that are for the server of the kernel arguments; `None` if that one answers for itself.
    pub(crate) fn elsewhere(&self) -> Option<Url> {
        let inner = self.lock();
        let base = inner.bases.get(inner.at)?;
        (inner.at > 0).then(|| base.clone())
    }

    /// Its address, if it has moved.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        self.elsewhere()?.host_str()?.parse().ok()
    }

    /// Whether the site is known to have more than one server.
    pub(crate) fn has_others(&self) -> bool {
        self.lock().bases.len() > 1
    }

    /// Goes by an answer to the question for the session, or by the lack of one. Answers where the server is asked from
    /// now on, if that is another one.
    pub(crate) fn note(&self, answer: &Result<SessionView, CallError>) -> Option<Url> {
        let mut inner = self.lock();
        let before = inner.at;
        match answer {
            Ok(view) => {
                inner.failures = 0;
                if let Some(site) = &view.site {
                    inner.learn(site);
                }
            }
            Err(error) if error.is_temporary() && inner.bases.len() > 1 => {
                inner.failures += 1;
                if inner.failures >= PATIENCE {
                    inner.failures = 0;
                    inner.at = (inner.at + 1) % inner.bases.len();
                }
            }
            Err(_) => {}
        }
        let now = inner.bases.get(inner.at);
        now.filter(|_| inner.at != before).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What the server says of the others: those that it does not name any more are kept, as it may be wrong about
    /// itself.
    fn learn(&mut self, site: &Site) {
        for named in &site.servers {
            let place = self.place(named);
            if place.is_none()
                && self.bases.len() < MAX_SERVERS
                && let Some(url) = self.usable(named)
            {
                self.bases.push(url);
            }
        }
        let runs = site.run_by.as_deref().and_then(|named| self.place(named));
        if let Some(at) = runs {
            self.at = at;
        }
    }

    fn place(&self, named: &str) -> Option<usize> {
        let url = self.usable(named)?;
        self.bases.iter().position(|base| *base == url)
    }

    /// Only by the same way: who is asked over HTTPS is not left for somebody who is asked without.
    fn usable(&self, named: &str) -> Option<Url> {
        let first = self.bases.first()?;
        let url: Url = named.parse().ok()?;
        let is_address = url.host_str()?.parse::<Ipv4Addr>().is_ok();
        let is_base = url.path().ends_with('/') && url.query().is_none();
        (url.scheme() == first.scheme() && is_address && is_base).then_some(url)
    }
}

/// Servers that are remembered, some 200 bytes each.
const MAX_SERVERS: usize = 8;

/// Calls without an answer until the next server is asked.
const PATIENCE: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::tests_view;

    const WEB: &str = "http://10.0.0.1/fog/";

    fn site(servers: &[&str], run_by: Option<&str>) -> Result<SessionView, CallError> {
        let servers = servers.iter().map(|url| (*url).to_owned()).collect();
        let run_by = run_by.map(str::to_owned);
        Ok(SessionView {
            site: Some(Site { servers, run_by }),
            ..tests_view()
        })
    }

    fn silent() -> Result<SessionView, CallError> {
        Err(CallError::Unreachable {
            url: WEB.to_owned(),
            cause: "gone".to_owned(),
        })
    }

    #[test]
    fn the_next_server_is_asked_when_one_has_not_answered_twice() {
        let places = Places::new(WEB);
        for _ in 0..9 {
            assert_eq!(places.note(&silent()), None);
        }
        let others = ["http://10.0.0.2/fog/", "http://10.0.0.3:81/fog/"];
        assert_eq!(places.note(&site(&others, None)), None);
        assert_eq!(places.elsewhere(), None);
        assert_eq!(places.note(&silent()), None);
        let next = places.note(&silent()).unwrap();
        assert_eq!(next.as_str(), others[0]);
        assert_eq!(places.address(), Some(Ipv4Addr::new(10, 0, 0, 2)));
        // That one knows who runs the session.
        let led = places.note(&site(&[], Some(others[1]))).unwrap();
        assert_eq!(led.as_str(), others[1]);
        assert_eq!(places.note(&silent()), None);
        // Around to the first one.
        assert_eq!(places.note(&silent()).unwrap().as_str(), WEB);
        assert_eq!(places.elsewhere(), None);
    }

    #[test]
    fn an_answer_in_between_keeps_the_server() {
        let places = Places::new(WEB);
        places.note(&site(&["http://10.0.0.2/fog/"], None));
        for _ in 0..5 {
            assert_eq!(places.note(&silent()), None);
            assert_eq!(places.note(&site(&[], None)), None);
        }
        let denied = Err(CallError::Status {
            url: WEB.to_owned(),
            status: 404,
            text: String::new(),
        });
        for _ in 0..5 {
            assert_eq!(places.note(&denied), None);
        }
    }

    #[test]
    fn who_is_no_server_of_the_same_kind_is_not_asked() {
        let places = Places::new("https://10.0.0.1/fog/");
        let odd = [
            "http://10.0.0.2/fog/",
            "https://server/fog/",
            "https://10.0.0.2/fog",
            "https://10.0.0.2/fog/?x",
            "ftp://10.0.0.2/",
            "",
        ];
        for named in odd {
            assert_eq!(places.note(&site(&[named], Some(named))), None, "{named}");
        }
        for _ in 0..4 {
            assert_eq!(places.note(&silent()), None);
        }
        let many: Vec<String> = (0..50).map(|n| format!("https://10.0.1.{n}/")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        places.note(&site(&many, None));
        assert_eq!(places.lock().bases.len(), MAX_SERVERS);
    }
}
