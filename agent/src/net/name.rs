//! The server's name in `web=`, where it is not an address: whether it can be found.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::dhcp::Lease;

/// Why the name in the server's URL leads nowhere; `None` if it does, or is an address.
pub(super) async fn unresolved(web: &str, lease: &Lease) -> Option<String> {
    let name = name(web)?;
    let cause = match timeout(PATIENCE, lookup_host((name, 80))).await {
        Ok(Ok(mut found)) => match found.next() {
            Some(_) => return None,
            None => "it has no address".to_owned(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", PATIENCE.as_secs()),
    };
    Some(explain(name, lease, &cause))
}

fn explain(name: &str, lease: &Lease, cause: &str) -> String {
    let from = lease
        .server
        .map_or_else(String::new, |server| format!(" {server}"));
    let servers: Vec<String> = lease.name_servers.iter().map(ToString::to_string).collect();
    if servers.is_empty() {
        return format!(
            "the server's name {name} (from web=) cannot be looked up: the DHCP server{from} gave no \
             name server (DNS); let it give one (option 6), or write the server's address into web="
        );
    }
    format!(
        "the server's name {name} (from web=) is not found by the name server (DNS) {}: {cause}; correct \
         the name there, or write the server's address into web=",
        servers.join(", ")
    )
}

/// The host in a URL; `None` if it is an address.
fn name(web: &str) -> Option<&str> {
    let (_scheme, rest) = web.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if host.starts_with('[') {
        return None;
    }
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    (!host.is_empty() && host.parse::<IpAddr>().is_err()).then_some(host)
}

/// The resolver asks for so long before it tries the next one.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn lease(name_servers: &[Ipv4Addr]) -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 0, 0, 7),
            prefix_len: 24,
            router: None,
            name_servers: name_servers.to_vec(),
            server: Some(Ipv4Addr::new(10, 0, 0, 1)),
        }
    }

    #[test]
    fn names_are_told_from_addresses() {
        for (web, expected) in [
            ("http://10.0.0.5/fog/", None),
            ("http://10.0.0.5:8080/fog/", None),
            ("https://[fe80::1]/fog/", None),
            ("http://fog.lab:8080/fog/", Some("fog.lab")),
            ("https://user@fogserver/fog/", Some("fogserver")),
            ("http:///fog/", None),
            ("nonsense", None),
        ] {
            assert_eq!(name(web), expected, "{web}");
        }
    }

    #[test]
    fn a_name_without_a_name_server_says_dns() {
        let text = explain("fog.lab", &lease(&[]), "try again");
        assert!(
            text.contains("10.0.0.1 gave no name server (DNS)"),
            "{text}"
        );
        let text = explain(
            "fog.lab",
            &lease(&[Ipv4Addr::new(10, 0, 0, 3)]),
            "no such name",
        );
        assert!(text.contains("(DNS) 10.0.0.3: no such name"), "{text}");
    }

    #[tokio::test]
    async fn only_what_cannot_be_found_is_explained() {
        let found = unresolved("http://127.0.0.1/fog/", &lease(&[])).await;
        assert_eq!(found, None);
        let found = unresolved("http://localhost/fog/", &lease(&[])).await;
        assert_eq!(found, None);
        // Reserved for names that never exist (RFC 6761, section 6.4).
        let text = unresolved("http://fos.invalid/fog/", &lease(&[]))
            .await
            .unwrap();
        assert!(text.contains("fos.invalid"), "{text}");
    }
}
