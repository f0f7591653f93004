//! Connections, of which there are only so many: each has a thread, which hangs with the disk.

use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places of connections, some 2 MiB of cache and a thread each. Those that were given up while the disk hangs
/// keep theirs until their threads have ended.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Semaphore>);

/// A place that is in use.
pub(super) type Place = OwnedSemaphorePermit;

impl Places {
    /// One writes, four read; the others are those that were given up.
    pub(super) const MAX: usize = 16;

    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(Self::MAX)))
    }

    /// A place for one more connection, if there is one.
    pub(super) fn take(&self) -> Option<Place> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

/// A connection in its place.
pub(in crate::store) struct Connection(Option<(SqliteConnection, Place)>);

impl Connection {
    /// Opens one. It has a task of its own: if nobody waits for it any more, the place is in use until the disk
    /// answers.
    pub(super) async fn open(options: &SqliteConnectOptions, place: Place) -> sqlx::Result<Self> {
        let options = options.clone();
        let opened = tokio::spawn(async move {
            let connection = options.connect().await?;
            Ok(Self(Some((connection, place))))
        });
        opened
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed))
    }

    /// Waits until its thread has ended.
    pub(super) async fn close(mut self) -> sqlx::Result<()> {
        match self.0.take() {
            Some((connection, _place)) => connection.close().await,
            None => Ok(()),
        }
    }

    /// To run statements.
    pub(super) fn get(&mut self) -> &mut SqliteConnection {
        let (connection, _) = self.0.as_mut().expect("it is there until it is closed");
        connection
    }
}

impl Drop for Connection {
    /// Whatever it was doing is undone, when its thread comes to it.
    fn drop(&mut self) {
        if let Some((connection, place)) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                if let Err(error) = connection.close().await {
                    tracing::debug!("closing a connection that was given up: {error}");
                }
                drop(place);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_given_up_keeps_its_place_until_it_has_ended() {
        let places = Places::new();
        let mut open = Vec::new();
        while let Some(place) = places.take() {
            let options = SqliteConnectOptions::new().in_memory(true);
            open.push(Connection::open(&options, place).await.unwrap());
        }
        assert_eq!(open.len(), Places::MAX);
        sqlx::query("SELECT 1")
            .execute(open[0].get())
            .await
            .unwrap();
        open.pop().unwrap().close().await.unwrap();
        drop(places.take().expect("one was closed"));
        open.clear();
        assert_eq!(places.0.available_permits(), 1, "they have not ended yet");
        let all = u32::try_from(Places::MAX).unwrap();
        drop(places.0.acquire_many(all).await.unwrap());
    }
}
