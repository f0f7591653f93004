//! Machines that are not registered.

use super::*;
use crate::domain::host::{About, Wish};

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn station(number: u16) -> StationMac {
    StationMac::try_from(mac(number)).unwrap()
}

async fn remember(store: &dyn Store, at: Timestamp, number: u16, last: u8) {
    let stored = store.remember_stranger(at, mac(number), address(last), About::default());
    stored.await.unwrap();
}

/// The last ones that asked are remembered.
pub(super) async fn strangers_are_bounded(store: SharedStore) {
    let max = u16::try_from(MAX_STRANGERS_OF_ADDRESS).unwrap();
    let about = || About::from("ACME\u{7} Box'; DROP TABLE hosts; --".to_owned());
    for number in 0..max + 3 {
        let stored = store.remember_stranger(NOW, mac(number), address(1), about());
        stored.await.unwrap();
        // It asks again and again, so it stays.
        if number % 50 == 0 {
            remember(&*store, at(1), 0, 1).await;
        }
    }
    let strangers = store.strangers().await.unwrap();
    assert_eq!(strangers.len(), usize::from(max));
    assert_eq!(strangers[0].mac, mac(max + 2));
    let zero = strangers.iter().find(|stranger| stranger.mac == mac(0));
    let zero = zero.unwrap();
    assert_eq!(
        (zero.first_at, zero.last_at, zero.requests),
        (NOW, at(1), 4)
    );
    // What it does not say again stays known.
    assert_eq!(zero.about, about());
    let last = strangers.last().unwrap().mac;
    assert_eq!(last, mac(4), "the oldest are gone: 1 to 3");
}

/// Whoever sends ever new addresses fills the places of others with none of them.
pub(super) async fn a_flood_pushes_out_what_came_from_its_address(store: SharedStore) {
    for last in 200..203 {
        remember(&*store, NOW, u16::from(last), last).await;
    }
    let mut number = 1000;
    // Of twelve addresses, as many as one may have, and more.
    for last in 1..=12 {
        for _ in 0..MAX_STRANGERS_OF_ADDRESS + 5 {
            number += 1;
            remember(&*store, at(1), number, last).await;
        }
    }
    let strangers = store.strangers().await.unwrap();
    assert_eq!(strangers.len(), usize::try_from(MAX_STRANGERS).unwrap());
    for last in 200..203 {
        let is_same = |stranger: &&Stranger| stranger.address == address(last);
        assert_eq!(strangers.iter().filter(is_same).count(), 1, "{last}");
    }
    // A machine that comes from another address now is one of that.
    remember(&*store, at(2), 200, 12).await;
    let strangers = store.strangers().await.unwrap();
    assert_eq!(strangers[0].mac, mac(200));
    assert!(strangers.len() <= usize::try_from(MAX_STRANGERS).unwrap());
}

/// It is no host before.
pub(super) async fn a_wish_waits_for_a_person(store: SharedStore) {
    let about = About::from("ACME Box".to_owned());
    remember(&*store, NOW, 5, 1).await;
    let wish = || store.wish(NOW, station(5), address(1), about.clone());
    assert_eq!(wish().await.unwrap(), Wish::Kept);
    assert_eq!(wish().await.unwrap(), Wish::Known);
    assert_eq!(store.hosts().await.unwrap().0, []);
    assert_eq!(store.activity().await.unwrap(), []);
    let pending = store.pending_hosts().await.unwrap();
    let [waiting] = &pending[..] else {
        panic!("{pending:?}")
    };
    assert_eq!(waiting.name, "001b21000005");
    assert_eq!((&waiting.macs[..], waiting.at), (&[mac(5)][..], NOW));
    assert_eq!(waiting.about, about);

    // A second card of it asks, too; a person says that both are one machine.
    let second = store.wish(NOW, station(6), address(1), About::default());
    assert_eq!(second.await.unwrap(), Wish::Kept);
    let mut host = new_host(5);
    host.macs.push(station(6));
    let id = store.add_host(at(5), host).await.unwrap();
    assert_eq!(id, waiting.id);
    let (hosts, broken) = store.hosts().await.unwrap();
    assert_eq!(broken, []);
    assert_eq!((hosts.len(), hosts[0].name.as_str()), (1, "pc005"));
    assert_eq!(hosts[0].macs, [mac(5), mac(6)]);
    assert_eq!(store.pending_hosts().await.unwrap(), []);
    assert_eq!(store.strangers().await.unwrap(), []);
    assert_eq!(wish().await.unwrap(), Wish::Registered);

    // Its name, and the address of another host, are refused, and it waits on.
    let third = store.wish(NOW, station(7), address(1), About::default());
    assert_eq!(third.await.unwrap(), Wish::Kept);
    let mut taken = new_host(5);
    taken.macs = vec![station(7)];
    let error = store.add_host(at(6), taken).await.unwrap_err();
    assert!(matches!(error, AddHostError::NameTaken(_)), "{error:?}");
    let mut taken = new_host(7);
    taken.macs.push(station(6));
    let error = store.add_host(at(6), taken).await.unwrap_err();
    assert!(matches!(error, AddHostError::MacTaken { .. }), "{error:?}");
    assert_eq!(store.pending_hosts().await.unwrap().len(), 1);
    // A person says that it is another card of a host.
    let mut edited = new_host(5);
    edited.macs = vec![station(5), station(7)];
    store.edit_host(at(7), id, edited).await.unwrap();
    assert_eq!(store.pending_hosts().await.unwrap(), []);
    assert_eq!(store.hosts().await.unwrap().0.len(), 1);
    let third = store.wish(NOW, station(10), address(1), About::default());
    assert_eq!(third.await.unwrap(), Wish::Kept);
    // A host that has the name that a wish would get does not keep it from being kept.
    let mut named = new_host(8);
    named.name = "001b21000009".parse().unwrap();
    store.add_host(NOW, named).await.unwrap();
    let ninth = store.wish(NOW, station(9), address(1), About::default());
    assert_eq!(ninth.await.unwrap(), Wish::Kept);
    let pending = store.pending_hosts().await.unwrap();
    assert_eq!(pending[1].name, "pc-001b21000009");
}

/// No machine fills the table of the hosts.
pub(super) async fn wishes_are_bounded(store: SharedStore) {
    let mut kept = 0;
    for last in 1..=20 {
        for number in 0..=u16::try_from(MAX_PENDING_OF_ADDRESS).unwrap() {
            let number = 1000 + 100 * u16::from(last) + number;
            let wish = store.wish(NOW, station(number), address(last), About::default());
            match wish.await.unwrap() {
                Wish::Kept => kept += 1,
                Wish::Crowded => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(kept <= u32::from(last) * MAX_PENDING_OF_ADDRESS);
    }
    assert_eq!(kept, MAX_PENDING);
}

/// One of them, or all.
pub(super) async fn what_waits_can_be_forgotten(store: SharedStore) {
    store.add_host(NOW, new_host(1)).await.unwrap();
    for number in 2..6 {
        remember(&*store, NOW, number, 1).await;
        let wish = store.wish(NOW, station(number), address(1), About::default());
        assert_eq!(wish.await.unwrap(), Wish::Kept);
    }
    remember(&*store, NOW, 9, 1).await;
    assert_eq!(store.forget_pending(Some(mac(1))).await.unwrap(), 0);
    assert_eq!(store.forget_pending(Some(mac(2))).await.unwrap(), 1);
    assert_eq!(store.forget_pending(Some(mac(2))).await.unwrap(), 0);
    assert_eq!(store.pending_hosts().await.unwrap().len(), 3);
    assert_eq!(store.forget_pending(None).await.unwrap(), 4);
    assert_eq!(store.pending_hosts().await.unwrap(), []);
    assert_eq!(store.strangers().await.unwrap(), []);
    assert_eq!(store.hosts().await.unwrap().0.len(), 1);
    // The address is free.
    store.add_host(NOW, new_host(2)).await.unwrap();
}
