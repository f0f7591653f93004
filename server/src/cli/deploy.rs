//! `deploy`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fog::task::State;

use super::Places;
use super::status;
use crate::clock::Timestamp;
use crate::imagestore;
use crate::output;
use crate::store::hosts::Host;
use crate::store::images::Image;
use crate::store::sessions::NewSession;
use crate::store::{
    Connection, SessionId, Store, events, hosts, images, session_hosts, sessions, settings, tasks,
};

/// A multicast session.
#[derive(Debug, clap::Args)]
pub(super) struct Deploy {
    /// Image, by name or number
    image: String,
    /// Hosts, by name
    #[arg(required = true)]
    hosts: Vec<String>,
    /// Name of the session [default: the image's]
    #[arg(long)]
    name: Option<String>,
    /// How long to wait for missing hosts after the first has checked in; minutes, or seconds
    /// with an s [default: the setting FOG_UDPCAST_MAXWAIT, 10 minutes]
    #[arg(long, value_name = "MINUTES", value_parser = wait_seconds)]
    max_wait: Option<u32>,
    /// Switch the machines off at the end instead of restarting them
    #[arg(long)]
    shutdown: bool,
    /// Stay until the session is over, show its progress, and fail if it failed
    #[arg(long)]
    wait: bool,
}

impl Deploy {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let store = places.store().await?;
        let id = self.create(places, &store).await?;
        output::result(&id.to_string());
        self.explain(places, &store, id).await?;
        let is_good = if self.wait {
            wait(places, &store, id).await?
        } else {
            true
        };
        store.close().await;
        Ok(is_good)
    }

    /// Checks everything that can be checked, then creates session and tasks in one step.
    async fn create(&self, places: &Places, store: &Store) -> anyhow::Result<SessionId> {
        let root = places.image_root(store).await?;
        let mut conn = store.begin().await?;
        let image = images::find(&mut conn, &self.image)
            .await?
            .with_context(|| {
                format!(
                    "there is no image {}; fos-server image list shows them",
                    self.image
                )
            })?;
        let facts = images::facts(&mut conn, image.id).await?.with_context(|| {
            format!(
                "image {} was never verified; add it with fos-server image add",
                image.name
            )
        })?;
        if !facts.is_verified {
            output::explain(&format!(
                "warning: image {} was added without verifying it",
                image.name
            ));
        }
        imagestore::check_unchanged(&root.join(&image.path), &facts)?;
        let hosts = self.find_hosts(&mut conn).await?;
        let id = self.insert(&mut conn, &image, &hosts).await?;
        conn.commit().await?;
        Ok(id)
    }

    /// The named hosts, each once; none may have another task.
    async fn find_hosts(&self, conn: &mut Connection) -> anyhow::Result<Vec<Host>> {
        let mut found: Vec<Host> = Vec::new();
        for name in &self.hosts {
            let host = hosts::by_name(conn, name).await?.with_context(|| {
                format!("there is no host {name}; fos-server host list shows them")
            })?;
            if let Some(task) = tasks::active_of_host(conn, host.id).await? {
                let session = tasks::session_of(conn, task.id).await?;
                let where_ = session.map_or_else(
                    || format!("task {}", task.id),
                    |id| format!("session {id} (end it with fos-server cancel {id})"),
                );
                bail!("host {} already has a task, in {where_}", host.name);
            }
            if !found.iter().any(|other| other.id == host.id) {
                found.push(host);
            }
        }
        Ok(found)
    }

    async fn insert(
        &self,
        conn: &mut Connection,
        image: &Image,
        hosts: &[Host],
    ) -> anyhow::Result<SessionId> {
        let now = Timestamp::now();
        let name = self.name.as_deref().unwrap_or(&image.name);
        let max_wait_seconds = match self.max_wait {
            Some(seconds) => seconds,
            None => match settings::number(conn, settings::MAX_WAIT, 10).await? {
                0 => 600,
                minutes => minutes.saturating_mul(60),
            },
        };
        let port = sessions::free_port(conn).await?;
        let mut task_ids = Vec::new();
        for host in hosts {
            let task_name = format!("{name} - {}", host.name);
            let id = image.id;
            task_ids.push(
                tasks::add_multicast(conn, now, &task_name, host.id, id, self.shutdown).await?,
            );
        }
        let session = NewSession {
            name,
            port,
            image: image.id,
            path: &image.path,
            image_type: image.image_type,
            max_wait_seconds,
            is_shutdown: self.shutdown,
        };
        let id = sessions::add(conn, now, &session, &task_ids).await?;
        for (host, task) in hosts.iter().zip(task_ids) {
            session_hosts::add(conn, id, host.id, task, &host.name).await?;
        }
        let text = format!(
            "image {} for {} hosts on port {port}",
            image.name,
            hosts.len()
        );
        events::add(conn, now, Some(id), None, "created", &text).await?;
        Ok(id)
    }

    /// What happens next.
    async fn explain(&self, places: &Places, store: &Store, id: SessionId) -> anyhow::Result<()> {
        let mut conn = store.conn().await?;
        let Some(session) = sessions::by_id(&mut conn, id).await? else {
            return Ok(());
        };
        let count = session_hosts::of_session(&mut conn, id).await?.len();
        output::explain(&format!(
            "session {id} \"{}\" for {count} hosts, UDP ports {} and {}. Boot the hosts from the \
             network. It starts when all are connected, or {} s after the first has checked in.",
            session.name,
            session.port,
            session.port + 1,
            session.max_wait_seconds
        ));
        if crate::runfile::running(&places.data).is_none() {
            output::explain("No server is running; start it with fos-server serve.");
        } else if !self.wait {
            output::explain(&format!("fos-server status {id} shows how it goes."));
        }
        Ok(())
    }
}

/// Follows the session to its end.
async fn wait(places: &Places, store: &Store, id: SessionId) -> anyhow::Result<bool> {
    let mut told = None;
    let mut told_at = Instant::now();
    loop {
        let found = status::collect(places, store, Some(id)).await?;
        let Some(session) = found.sessions.into_iter().next() else {
            bail!("session {id} does not exist any more");
        };
        let stream = session.stream.as_ref().map(|stream| stream.number);
        let news = (session.stage, stream, session.missing.clone());
        if told.as_ref() != Some(&news) || told_at.elapsed() >= TELL_PERIOD {
            output::explain(&status::headline(&session));
            told = Some(news);
            told_at = Instant::now();
        }
        if !session.state.is_active() {
            for host in &session.hosts {
                output::explain(&format!("  {}: {}: {}", host.name, host.state, host.text));
            }
            return Ok(session.state == State::Complete);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// How often the same stage is told anew.
const TELL_PERIOD: Duration = Duration::from_secs(5);

/// Minutes, or seconds with an `s`.
fn wait_seconds(text: &str) -> Result<u32, String> {
    let seconds = match text.strip_suffix('s') {
        Some(seconds) => seconds.parse::<u32>().ok(),
        None => text
            .strip_suffix('m')
            .unwrap_or(text)
            .parse::<u32>()
            .ok()
            .and_then(|m| m.checked_mul(60)),
    };
    seconds
        .filter(|seconds| (1..=86400).contains(seconds))
        .ok_or_else(|| {
            "expected minutes such as 10, or seconds such as 90s, up to a day".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_minutes_or_seconds() {
        for (text, seconds) in [("10", 600), ("1m", 60), ("90s", 90)] {
            assert_eq!(wait_seconds(text), Ok(seconds));
        }
        for text in ["", "0", "s", "-1", "1h", "99999999999"] {
            assert!(wait_seconds(text).is_err(), "{text}");
        }
    }
}
