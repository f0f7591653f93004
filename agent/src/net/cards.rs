//! The cards that can be used: each is switched on once, and those that come later are taken in.

use std::io;
use std::path::PathBuf;

use fog::Mac;

use super::NetworkError;
use super::nic::{self, Nic};

/// All cards of the machine as last seen.
pub(super) struct Cards<S> {
    /// `/sys/class/net`.
    class: PathBuf,
    /// Addresses that the server knows; their cards come first.
    wanted: Vec<Mac>,
    /// Switches the card of this name on.
    switch_on: S,
    usable: Vec<Nic>,
    /// Cards that cannot be switched on, with the reason.
    broken: Vec<(Nic, String)>,
}

impl<S: Fn(&str) -> io::Result<()>> Cards<S> {
    pub(super) fn new(class: PathBuf, wanted: Vec<Mac>, switch_on: S) -> Self {
        Self {
            class,
            wanted,
            switch_on,
            usable: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// Looks again: forgets cards that are gone and switches new ones on. Returns lines for people
    /// about what is new and does not work.
    ///
    /// # Errors
    /// If the cards cannot be listed.
    pub(super) fn refresh(&mut self) -> Result<Vec<String>, NetworkError> {
        let mut now = nic::list(&self.class).map_err(NetworkError::List)?;
        nic::prefer(&mut now, &self.wanted);
        self.broken.retain(|(card, _)| now.contains(card));
        let mut news = Vec::new();
        now.retain(|card| {
            if self.usable.contains(card) {
                return true;
            }
            if self.broken.iter().any(|(broken, _)| broken == card) {
                return false;
            }
            let Err(error) = (self.switch_on)(&card.name) else {
                return true;
            };
            let text = format!(
                "{} ({}) cannot be switched on: {error}",
                card.name, card.mac
            );
            news.push(text.clone());
            self.broken.push((card.clone(), text));
            false
        });
        self.usable = now;
        Ok(news)
    }

    /// Cards that are switched on, the ones that the server knows first.
    pub(super) fn usable(&self) -> &[Nic] {
        &self.usable
    }

    /// Why the others are not.
    pub(super) fn troubles(&self) -> Vec<String> {
        self.broken.iter().map(|(_, text)| text.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;

    use super::super::nic::tests::card;
    use super::*;

    #[test]
    fn a_broken_card_does_not_keep_the_others_and_new_ones_are_taken_in() {
        let class = tempfile::tempdir().unwrap();
        let at = class.path();
        let wired = |mac| [("type", "1\n"), ("address", mac), ("device", "")];
        card(at, "eth0", &wired("02:00:00:00:00:00\n"));
        card(at, "eth1", &wired("02:00:00:00:00:01\n"));
        let calls = RefCell::new(Vec::new());
        let switch_on = |name: &str| {
            calls.borrow_mut().push(name.to_owned());
            match name {
                "eth0" => Err(io::Error::other("no firmware")),
                _ => Ok(()),
            }
        };
        let wanted = vec!["02:00:00:00:00:02".parse().unwrap()];
        let mut cards = Cards::new(at.to_owned(), wanted, switch_on);
        let names =
            |cards: &[Nic]| -> Vec<String> { cards.iter().map(|card| card.name.clone()).collect() };

        let news = cards.refresh().unwrap();
        assert_eq!(names(cards.usable()), ["eth1"]);
        assert_eq!(
            news,
            ["eth0 (02:00:00:00:00:00) cannot be switched on: no firmware"]
        );
        assert_eq!(cards.troubles(), news);
        // Nothing is tried or said twice.
        assert_eq!(cards.refresh().unwrap(), [""; 0]);
        assert_eq!(*calls.borrow(), ["eth0", "eth1"]);

        // A dock is plugged in, and has the address of the task.
        card(at, "eth2", &wired("02:00:00:00:00:02\n"));
        cards.refresh().unwrap();
        assert_eq!(names(cards.usable()), ["eth2", "eth1"]);
        // It is plugged in again under the same name: another card, off again.
        fs::write(at.join("eth2/ifindex"), "9\n").unwrap();
        cards.refresh().unwrap();
        assert_eq!(*calls.borrow(), ["eth0", "eth1", "eth2", "eth2"]);

        fs::remove_dir_all(at.join("eth0")).unwrap();
        fs::remove_dir_all(at.join("eth1")).unwrap();
        cards.refresh().unwrap();
        assert_eq!(names(cards.usable()), ["eth2"]);
        assert_eq!(cards.troubles(), [""; 0]);
    }
}
