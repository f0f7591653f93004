//! Starting a session before all of its hosts are there.

use fog::task::State;

use super::Ops;
use crate::domain::SessionId;
use crate::domain::session::core::NotStarted;
use crate::store::StoreError;
use crate::text;

/// Why a session was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No such session.
    #[error("there is no session {0}; fos-server status lists them")]
    NoSession(SessionId),
    /// It is over.
    #[error("session {0} is already over: {1}")]
    Over(SessionId, State),
    /// It has begun.
    #[error("session {0} has started already; hosts that are missing cannot join any more")]
    Started(SessionId),
    /// There is nobody to send to.
    #[error(
        "no host of session {0} is connected yet; boot one from the network (fos-server status {0} \
         shows what each does)"
    )]
    NobodyConnected(SessionId),
    /// No server runs it, or not yet.
    #[error(
        "session {0} does not run yet; start the server (fos-server serve), or try again in a moment"
    )]
    NotRunning(SessionId),
    /// Another server runs it, or it may not be run here.
    #[error("{0}")]
    NotHere(String),
    /// The session did not answer.
    #[error("session {0} does not answer; look at fos-server status {0}, and try again")]
    NoAnswer(SessionId),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ops {
    /// Starts a session with the hosts that are connected.
    ///
    /// # Errors
    /// If there is nothing to start.
    pub async fn start_now(&self, id: SessionId) -> Result<(), StartError> {
        if let Some(handle) = self.sessions.running(id) {
            match handle.start().await {
                Ok(()) => return Ok(()),
                Err(Some(NotStarted::Started)) => return Err(StartError::Started(id)),
                Err(Some(NotStarted::NobodyConnected)) => {
                    return Err(StartError::NobodyConnected(id));
                }
                // It may have ended just now: the database says how.
                Err(Some(NotStarted::Over) | None) => {}
            }
            let session = self.store.session(id).await?;
            return Err(match session {
                Some(session) if !session.state.is_active() => StartError::Over(id, session.state),
                _ => StartError::NoAnswer(id),
            });
        }
        let session = self.store.session(id).await?;
        let session = session.ok_or(StartError::NoSession(id))?;
        Err(match session.state.is_active() {
            true => match self.sessions.not_here(id) {
                Some(why) => StartError::NotHere(text::not_here(id, &why)),
                None => StartError::NotRunning(id),
            },
            false => StartError::Over(id, session.state),
        })
    }
}
