//! DHCP: answers of servers, the survey, and the client with its lease.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dhcp::{Action, ChosenServer, Survey, discover, parse};
use fog::Mac;

use super::feed::Feed;

/// Answers of any kind at any time, at a client and at a survey. No address is used beyond its time.
pub fn dhcp(data: &[u8]) {
    let mut feed = Feed(data);
    let mut now = Instant::now();
    let mut client = ChosenServer::new(MAC, SERVER, 1, now);
    let mut survey = Survey::new(MAC, 1, now, Duration::from_secs(60));
    let mut xid = 1_u32.to_be_bytes();
    // Until when the address may be used.
    let mut until: Option<Instant> = None;
    let mut act = |action: Option<Action>, now: Instant, until: &mut Option<Instant>| match action {
        Some(Action::Broadcast(bytes) | Action::ToServer(bytes)) => {
            assert!(bytes.len() >= 300);
            xid.copy_from_slice(&bytes[4..8]);
            xid
        }
        Some(Action::Apply(reply)) => {
            assert_eq!(reply.server, SERVER);
            let time = reply.lease.unwrap_or(ENDLESS);
            assert!(!time.is_zero());
            *until = Some(now + time);
            xid
        }
        Some(Action::Forget) => {
            assert!(until.take().is_some(), "there was no address");
            xid
        }
        None => xid,
    };
    while !feed.is_empty() {
        match feed.byte() % 4 {
            0 => {
                let end = now + Duration::from_secs(feed.u16().into());
                for _ in 0..STEPS {
                    let due = client.poll_timeout();
                    assert!(until.is_none_or(|until| due <= until), "held too long");
                    if due > end {
                        break;
                    }
                    now = now.max(due);
                    let action = client.handle_timeout(now);
                    assert!(action.is_some(), "nothing was due");
                    act(action, now, &mut until);
                }
            }
            1 => {
                let bytes = feed.bytes(600);
                check(bytes, 1);
                survey.handle_datagram(SERVER, bytes);
                act(client.handle_datagram(now, SERVER, bytes), now, &mut until);
            }
            what => {
                let xid = act(None, now, &mut until);
                let id = u32::from_be_bytes(xid);
                let mut bytes = discover(id, MAC);
                bytes.truncate(OPTIONS_AT);
                bytes[0] = 2;
                bytes[16..20].copy_from_slice(&[10, 0, 0, feed.byte()]);
                if what == 3 {
                    // Names, or options that go on there.
                    let field = feed.bytes(192);
                    bytes[44..44 + field.len()].copy_from_slice(field);
                }
                bytes.extend([53, 1, feed.byte() % 8]);
                bytes.extend(feed.bytes(400));
                check(&bytes, id);
                survey.handle_datagram(SERVER, &bytes);
                act(client.handle_datagram(now, SERVER, &bytes), now, &mut until);
            }
        }
        assert!(
            survey
                .poll_timeout(now)
                .is_none_or(|at| at <= now + Duration::from_secs(60))
        );
        survey.handle_timeout(now);
    }
    let offers = survey.into_offers();
    assert!(offers.len() <= 16);
    for (number, offer) in offers.iter().enumerate() {
        let is_new = |other: &dhcp::Reply| other.server != offer.server;
        assert!(offers[..number].iter().all(is_new));
    }
}

fn check(bytes: &[u8], id: u32) {
    let Some(reply) = parse(bytes, id, MAC, SERVER) else {
        return;
    };
    assert!(!reply.server.is_unspecified());
    assert!(reply.prefix_len().is_none_or(|len| len <= 32));
    assert!(reply.routers.len() <= 8 && reply.name_servers.len() <= 8);
    let is_plain = |text: &str| text.chars().all(|c| !c.is_control());
    let file = reply.boot_file;
    assert!(file.is_none_or(|file| file.chars().count() <= 80 && is_plain(&file)));
    assert!(
        reply
            .domain
            .is_none_or(|domain| domain.len() <= 253 && is_plain(&domain))
    );
}

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OPTIONS_AT: usize = 240;
/// No lease is longer that has an end.
const ENDLESS: Duration = Duration::from_secs(1 << 32);
/// Of time, for one input.
const STEPS: u32 = 64;
