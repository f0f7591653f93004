//! How many pages are followed at a time: a connection and a look at the database each second for each.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::ops::Who;

/// Places of all who follow a page. The others see it as it was when they loaded it.
pub(super) static PLACES: LazyLock<Places> = LazyLock::new(Places::default);

/// In all, and of one person: no single one takes those of all.
const MOST: usize = 200;
const MOST_EACH: usize = 20;

#[derive(Debug, Default)]
pub(super) struct Places {
    /// Only who has one.
    held: Mutex<HashMap<Who, usize>>,
}

/// One of them; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    who: Who,
    places: &'static Places,
}

impl Places {
    /// A place for this person; `None` if there is none left.
    pub(super) fn take(&'static self, who: &Who) -> Option<Place> {
        let mut held = self.held();
        let own = held.get(who).copied().unwrap_or_default();
        if own >= MOST_EACH || held.values().sum::<usize>() >= MOST {
            return None;
        }
        held.insert(who.clone(), own + 1);
        Some(Place {
            who: who.clone(),
            places: self,
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Who, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        match held.get_mut(&self.who) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(held.remove(&self.who)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_single_person_takes_the_places_of_all() {
        static OWN: LazyLock<Places> = LazyLock::new(Places::default);
        let user = |name: &str| Who::User(name.parse().unwrap());
        let take_all = |name: &str| {
            let taken = std::iter::from_fn(|| OWN.take(&user(name)));
            taken.collect::<Vec<_>>()
        };
        let greedy = take_all("a");
        assert_eq!(greedy.len(), MOST_EACH);
        let others: Vec<_> = ('b'..='z')
            .map(|name| take_all(&name.to_string()))
            .collect();
        let count = others.iter().map(Vec::len).sum::<usize>();
        assert_eq!(greedy.len() + count, MOST);
        drop(others);
        assert!(OWN.take(&user("b")).is_some() && OWN.take(&user("a")).is_none());
        drop(greedy);
        assert!(OWN.held().is_empty());
    }
}
