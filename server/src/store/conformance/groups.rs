//! Groups of hosts.

use super::*;

fn name(text: &str) -> GroupName {
    text.parse().unwrap()
}

async fn change(store: &dyn Store, group: &str, change: GroupChange) {
    store.change_group(name(group), change).await.unwrap();
}

async fn found(store: &dyn Store) -> Vec<(String, Vec<HostId>)> {
    let groups = store.groups().await.unwrap().into_iter();
    groups
        .map(|group| (group.name.to_string(), group.hosts))
        .collect()
}

/// And each host is in it once, for as long as it is there.
pub(super) async fn a_group_keeps_its_order(store: SharedStore) {
    let mut hosts = Vec::new();
    for number in 1..=4 {
        hosts.push(store.add_host(NOW, new_host(number)).await.unwrap());
    }
    let [a, b, c, d] = hosts[..] else { panic!() };
    assert_eq!(found(&*store).await, []);
    change(&*store, "Room101", GroupChange::Add(vec![c, a, c])).await;
    change(&*store, "room101", GroupChange::Add(vec![b, a])).await;
    change(&*store, "all", GroupChange::Add(vec![d, a])).await;
    let all = |hosts: &[HostId]| ("all".to_owned(), hosts.to_vec());
    let room = |hosts: &[HostId]| ("Room101".to_owned(), hosts.to_vec());
    assert_eq!(found(&*store).await, [all(&[d, a]), room(&[c, a, b])]);

    change(&*store, "ROOM101", GroupChange::Take(vec![a, d])).await;
    assert_eq!(found(&*store).await, [all(&[d, a]), room(&[c, b])]);
    change(&*store, "room101", GroupChange::Add(vec![a])).await;
    assert_eq!(found(&*store).await, [all(&[d, a]), room(&[c, b, a])]);

    // Another name and another address of it change nothing.
    let mut edited = new_host(103);
    edited.macs = vec![StationMac::try_from(mac(77)).unwrap()];
    store.edit_host(at(1), c, edited).await.unwrap();
    assert_eq!(found(&*store).await[1], room(&[c, b, a]));
    store.remove_host(b).await.unwrap();
    assert_eq!(found(&*store).await, [all(&[d, a]), room(&[c, a])]);

    let gone = store.change_group(name("all"), GroupChange::Add(vec![b]));
    let gone = gone.await.unwrap_err();
    assert!(
        matches!(gone, GroupError::NoHost(host) if host == b),
        "{gone:?}"
    );
    change(&*store, "all", GroupChange::Take(vec![a, d])).await;
    assert_eq!(found(&*store).await, [all(&[]), room(&[c, a])]);
    change(&*store, "all", GroupChange::Remove).await;
    for change in [GroupChange::Remove, GroupChange::Take(vec![a])] {
        let error = store.change_group(name("all"), change).await.unwrap_err();
        assert!(matches!(error, GroupError::NoGroup(_)), "{error:?}");
    }
    assert_eq!(found(&*store).await, [room(&[c, a])]);
    assert_eq!(store.hosts().await.unwrap().0.len(), 3);
}

/// However many are asked for.
pub(super) async fn groups_are_bounded(store: SharedStore) {
    for number in 0..MAX_GROUPS {
        change(&*store, &format!("g{number}"), GroupChange::Add(Vec::new())).await;
    }
    let more = store.change_group(name("more"), GroupChange::Add(Vec::new()));
    let more = more.await.unwrap_err();
    assert!(matches!(more, GroupError::TooMany), "{more:?}");
    change(&*store, "g1", GroupChange::Remove).await;
    change(&*store, "more", GroupChange::Add(Vec::new())).await;
    let max = usize::try_from(MAX_GROUPS).unwrap();
    assert_eq!(store.groups().await.unwrap().len(), max);
}
