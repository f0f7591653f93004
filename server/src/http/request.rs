//! Requests as FOG's clients send them, and the hosts that send them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use fog::Mac;
use fog::form::Fields;

use super::{App, plain};
use crate::store::hosts::{self, Host};

/// Fields of a request and who sent it.
#[derive(Debug, Clone)]
pub struct Form {
    fields: Fields,
    /// Address of the client.
    pub client: IpAddr,
}

impl Form {
    /// Reads fields out of query and body; those of the body win.
    #[must_use]
    pub fn new(query: &str, body: &[u8], client: IpAddr) -> Self {
        Self {
            fields: Fields::parse(query, body),
            client,
        }
    }

    /// A field; the first of this name. Empty if absent.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.fields.get(name)
    }

    /// A field that holds base64 text; `None` if it is empty or no base64.
    #[must_use]
    pub fn base64(&self, name: &str) -> Option<String> {
        self.fields.base64(name)
    }

    /// The addresses in `mac`, `mac0`, `mac1`, ...: lists, plain or in base64.
    #[must_use]
    pub fn macs(&self) -> Vec<Mac> {
        self.fields.macs()
    }

    /// Address of the client for multicast.
    ///
    /// # Errors
    /// A text for the client if it is an IPv6 address.
    pub fn client_v4(&self) -> Result<Ipv4Addr, String> {
        match self.client {
            IpAddr::V4(address) => Ok(address),
            IpAddr::V6(address) => Err(format!(
                "this host asked from the IPv6 address {address}; multicast deploys need IPv4"
            )),
        }
    }
}

impl FromRequest<App> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let info = request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .copied();
        let mocked = request
            .extensions()
            .get::<axum::extract::connect_info::MockConnectInfo<SocketAddr>>()
            .map(|mock| mock.0);
        let client = info.map(|info| info.0).or(mocked);
        let client = client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |at| {
            at.ip().to_canonical()
        });
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = if request.method() == Method::POST {
            Bytes::from_request(request, app)
                .await
                .map_err(|rejection| {
                    let text = format!("the request cannot be read: {}", rejection.body_text());
                    (rejection.status(), plain(text)).into_response()
                })?
        } else {
            Bytes::new()
        };
        Ok(Self::new(&query, &body, client))
    }
}

/// A request whose host is registered.
#[derive(Debug, Clone)]
pub struct KnownHost {
    /// The host.
    pub host: Host,
    /// Its address that was asked with.
    pub mac: Mac,
    /// The request.
    pub form: Form,
}

impl App {
    /// The registered host that sent a form, or a text for the client.
    pub(super) async fn host(&self, form: Form) -> anyhow::Result<Result<KnownHost, String>> {
        let macs = form.macs();
        let Some(first) = macs.first().copied() else {
            return Ok(Err("no valid MAC address in the request (field mac)".into()));
        };
        let mut conn = self.store.conn().await?;
        for mac in &macs {
            if let Some(host) = hosts::by_macs(&mut conn, &[*mac]).await? {
                return Ok(Ok(KnownHost {
                    host,
                    mac: *mac,
                    form,
                }));
            }
        }
        Ok(Err(format!(
            "{first} is not a registered host; register it on the server with: \
             fos-server host add NAME {first}"
        )))
    }
}
