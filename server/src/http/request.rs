//! Requests as FOG's clients send them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::connect_info::MockConnectInfo;
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::{Extensions, HeaderMap, Method};
use fog::form::Fields;
use fos_api::{FIELD_ADDRESS, FIELD_TICKET};

use super::error::HttpError;
use crate::domain::handout::Ticket;
use crate::ops::{ClientRequest, Known, Ops};

/// Fields of a request and who sent it.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    fields: Fields,
    /// Address of the client.
    pub(crate) client: IpAddr,
    is_forwarded: bool,
}

impl Form {
    /// A field; the first of this name. Empty if absent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.fields.get(name)
    }

    /// A field that holds base64 text; `None` if it is empty or no base64.
    pub(crate) fn base64(&self, name: &str) -> Option<String> {
        self.fields.base64(name)
    }

    /// The fields of an address; the body is not looked at.
    pub(super) fn of_parts(parts: &axum::http::request::Parts) -> Self {
        Self {
            fields: Fields::parse(parts.uri.query().unwrap_or_default(), b""),
            client: peer(&parts.extensions),
            is_forwarded: is_forwarded(&parts.headers),
        }
    }

    /// What the client calls its own address.
    pub(crate) fn own_address(&self) -> Option<Ipv4Addr> {
        self.get(FIELD_ADDRESS).parse().ok()
    }

    /// Who asks: the addresses in `mac`, `mac0`, `mac1`, ..., as lists, plain or in base64.
    pub(crate) fn request(&self) -> ClientRequest {
        ClientRequest {
            macs: self.fields.macs(),
            address: self.client,
            ticket: Ticket::parse(self.get(FIELD_TICKET)),
            is_forwarded: self.is_forwarded,
            about: format!("{} {}", self.get("manufacturer"), self.get("product")).into(),
        }
    }

    /// The registered host that asks.
    pub(crate) async fn known(&self, ops: &Ops) -> Result<Known, HttpError> {
        Ok(ops.identify(self.request()).await?)
    }
}

impl FromRequest<Arc<Ops>> for Form {
    type Rejection = HttpError;

    async fn from_request(request: Request, ops: &Arc<Ops>) -> Result<Self, HttpError> {
        let client = peer(request.extensions());
        let is_forwarded = is_forwarded(request.headers());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = if request.method() == Method::POST {
            let body = Bytes::from_request(request, ops).await;
            body.map_err(|rejection| HttpError::Unreadable {
                status: rejection.status(),
                text: rejection.body_text(),
            })?
        } else {
            Bytes::new()
        };
        Ok(Self {
            fields: Fields::parse(&query, &body),
            client,
            is_forwarded,
        })
    }
}

/// Where a request comes from; the unspecified address on a socket that has none.
pub(super) fn peer(extensions: &Extensions) -> IpAddr {
    let connected = extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0);
    let mocked = || {
        extensions
            .get::<MockConnectInfo<SocketAddr>>()
            .map(|info| info.0)
    };
    connected
        .or_else(mocked)
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| {
            peer.ip().to_canonical()
        })
}

/// Whether a proxy says that it passed the request on.
fn is_forwarded(headers: &HeaderMap) -> bool {
    ["via", "forwarded", "x-forwarded-for"]
        .iter()
        .any(|name| headers.contains_key(*name))
}
