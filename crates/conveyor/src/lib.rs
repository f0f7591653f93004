//! The bounded queue between two threads whose buffers are used again.
//!
//! A fixed set of buffers goes round: the [`Loader`] takes an empty one, fills it and puts it on as a part
//! of an item; the [`Unloader`] takes the item off and gives the buffer back. So the memory is bounded by
//! the buffers that were laid out at the start, and the faster side waits for the slower one.
//!
//! Each end can wait, or only look (`try_`), as a thread does that waits for other things as well.
//!
//! Either end may be dropped at any time, by a failure or a panic as well: the other end then gets
//! [`Gone`] and never waits for ever. An end of the items is an end only if the loader has said so.

#![warn(missing_docs)]

use std::fmt;
use std::sync::mpsc::{
    Receiver, Sender, SyncSender, TryRecvError, TrySendError, channel, sync_channel,
};

/// The other end of the conveyor was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other end of a queue stopped before its work was done")
    }
}

impl std::error::Error for Gone {}

/// Why an item was not put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPut<T> {
    /// The queue is full; the item comes back.
    Full(T),
    /// The unloader is gone, and so is the item.
    Gone,
}

/// What there was to be taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// The next item.
    Item(T),
    /// Nothing yet.
    Nothing,
    /// There are no more.
    End,
}

/// Puts items on.
#[derive(Debug)]
pub struct Loader<T, B> {
    items: SyncSender<Freight<T>>,
    empty: Receiver<B>,
}

/// Takes items off.
#[derive(Debug)]
pub struct Unloader<T, B> {
    items: Receiver<Freight<T>>,
    empty: Sender<B>,
    is_over: bool,
}

#[derive(Debug)]
enum Freight<T> {
    Item(T),
    End,
}

/// Both ends of a queue in which these buffers go round. As many items may wait as there are buffers.
#[must_use]
pub fn conveyor<T, B>(buffers: impl IntoIterator<Item = B>) -> (Loader<T, B>, Unloader<T, B>) {
    let (give_back, empty) = channel();
    let mut count = 0;
    for buffer in buffers {
        // The receiving end is held right here.
        if give_back.send(buffer).is_ok() {
            count += 1;
        }
    }
    let (load, items) = sync_channel(count);
    let loader = Loader { items: load, empty };
    let unloader = Unloader {
        items,
        empty: give_back,
        is_over: false,
    };
    (loader, unloader)
}

impl<T, B> Loader<T, B> {
    /// Waits for an empty buffer.
    ///
    /// # Errors
    /// The unloader is gone, and all buffers that it had given back are used.
    pub fn buffer(&self) -> Result<B, Gone> {
        self.empty.recv().map_err(|_| Gone)
    }

    /// Puts an item on; waits while the queue is full.
    ///
    /// # Errors
    /// The unloader is gone; so is the item.
    pub fn put(&self, item: T) -> Result<(), Gone> {
        self.items.send(Freight::Item(item)).map_err(|_| Gone)
    }

    /// An empty buffer, if there is one.
    #[must_use]
    pub fn try_buffer(&self) -> Option<B> {
        self.empty.try_recv().ok()
    }

    /// Puts an item on if there is room.
    ///
    /// # Errors
    /// There is none, or the unloader is gone.
    pub fn try_put(&self, item: T) -> Result<(), NotPut<T>> {
        match self.items.try_send(Freight::Item(item)) {
            Err(TrySendError::Full(Freight::Item(item))) => Err(NotPut::Full(item)),
            Err(_) => Err(NotPut::Gone),
            Ok(()) => Ok(()),
        }
    }

    /// Says that there are no more items, if there is room for that: the answer. Nothing may be put on
    /// afterwards.
    ///
    /// # Errors
    /// The unloader is gone.
    pub fn try_end(&self) -> Result<bool, Gone> {
        match self.items.try_send(Freight::End) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => Err(Gone),
        }
    }

    /// Says that there are no more items. A loader that is dropped otherwise has failed.
    ///
    /// # Errors
    /// The unloader is gone.
    pub fn end(self) -> Result<(), Gone> {
        self.put_end()
    }

    /// The same, where the loader belongs to something that lives on. Nothing may be put on afterwards.
    ///
    /// # Errors
    /// The unloader is gone.
    pub fn put_end(&self) -> Result<(), Gone> {
        self.items.send(Freight::End).map_err(|_| Gone)
    }
}

impl<T, B> Unloader<T, B> {
    /// Waits for the next item; `None` once the loader has said that there are no more.
    ///
    /// # Errors
    /// The loader is gone without having said so.
    pub fn take(&mut self) -> Result<Option<T>, Gone> {
        if self.is_over {
            return Ok(None);
        }
        match self.items.recv() {
            Ok(Freight::Item(item)) => Ok(Some(item)),
            Ok(Freight::End) => {
                self.is_over = true;
                Ok(None)
            }
            Err(_) => Err(Gone),
        }
    }

    /// The next item, if there is one by now.
    ///
    /// # Errors
    /// The loader is gone without having said that there are no more.
    pub fn try_take(&mut self) -> Result<Taken<T>, Gone> {
        if self.is_over {
            return Ok(Taken::End);
        }
        match self.items.try_recv() {
            Ok(Freight::Item(item)) => Ok(Taken::Item(item)),
            Ok(Freight::End) => {
                self.is_over = true;
                Ok(Taken::End)
            }
            Err(TryRecvError::Empty) => Ok(Taken::Nothing),
            Err(TryRecvError::Disconnected) => Err(Gone),
        }
    }

    /// Gives a buffer back, to be filled again.
    pub fn give_back(&self, buffer: B) {
        // A loader that is gone needs it no more.
        drop(self.empty.send(buffer));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const COUNT: usize = 3;

    fn buffers() -> impl Iterator<Item = Vec<u8>> {
        std::iter::repeat_with(Vec::new).take(COUNT)
    }

    #[test]
    fn items_come_in_order_and_their_memory_is_used_again() {
        let (loader, mut unloader) = conveyor::<Vec<u8>, _>(buffers());
        let fresh = AtomicUsize::new(0);
        thread::scope(|scope| {
            let fresh = &fresh;
            scope.spawn(move || {
                for number in 0..100 {
                    let mut buffer = loader.buffer().unwrap();
                    if buffer.capacity() == 0 {
                        fresh.fetch_add(1, Ordering::Relaxed);
                    }
                    buffer.clear();
                    buffer.push(number);
                    loader.put(buffer).unwrap();
                }
                loader.end().unwrap();
            });
            for number in 0..100 {
                let item = unloader.take().unwrap().unwrap();
                assert_eq!(item, [number]);
                unloader.give_back(item);
            }
            assert_eq!(unloader.take(), Ok(None));
            assert_eq!(unloader.take(), Ok(None), "the end stays the end");
        });
        assert!(fresh.into_inner() <= COUNT);
    }

    #[test]
    fn the_faster_side_waits_and_memory_is_bounded() {
        let (loader, mut unloader) = conveyor::<usize, _>(buffers());
        let loaded = AtomicUsize::new(0);
        thread::scope(|scope| {
            let loaded = &loaded;
            scope.spawn(move || {
                for number in 0..1000 {
                    drop(loader.buffer().unwrap());
                    // Counted before it can be taken off.
                    loaded.fetch_add(1, Ordering::SeqCst);
                    loader.put(number).unwrap();
                }
                loader.end().unwrap();
            });
            let mut taken = 0;
            while unloader.take().unwrap().is_some() {
                taken += 1;
                let ahead = loaded.load(Ordering::SeqCst) - (taken - 1);
                assert!(ahead <= COUNT, "{ahead} buffers of {COUNT} are in use");
                unloader.give_back(Vec::new());
            }
            assert_eq!(taken, 1000);
        });
    }

    #[test]
    fn items_without_buffers_are_bounded_as_well() {
        let (loader, mut unloader) = conveyor::<usize, _>(buffers());
        let put = AtomicUsize::new(0);
        thread::scope(|scope| {
            let put = &put;
            scope.spawn(move || {
                for number in 0..1000 {
                    loader.put(number).unwrap();
                    put.fetch_add(1, Ordering::SeqCst);
                }
                loader.end().unwrap();
            });
            for taken in 0..1000 {
                assert!(put.load(Ordering::SeqCst) <= taken + COUNT);
                assert_eq!(unloader.take(), Ok(Some(taken)));
            }
            assert_eq!(unloader.take(), Ok(None));
        });
    }

    #[test]
    fn a_loader_that_goes_without_a_word_has_failed() {
        let (loader, mut unloader) = conveyor::<u8, Vec<u8>>(buffers());
        loader.put(1).unwrap();
        drop(loader);
        assert_eq!(unloader.take(), Ok(Some(1)), "what was put on arrives");
        assert_eq!(unloader.take(), Err(Gone));
        assert_eq!(
            unloader.take(),
            Err(Gone),
            "a failure does not become an end"
        );
        unloader.give_back(Vec::new());
    }

    #[test]
    fn an_end_that_only_looks_never_waits() {
        let (loader, mut unloader) = conveyor::<usize, Vec<u8>>(buffers());
        assert_eq!(unloader.try_take(), Ok(Taken::Nothing));
        for number in 0..COUNT {
            assert!(loader.try_buffer().is_some());
            assert_eq!(loader.try_put(number), Ok(()));
        }
        assert_eq!(loader.try_buffer(), None, "all are in use");
        assert_eq!(loader.try_put(9), Err(NotPut::Full(9)));
        assert_eq!(loader.try_end(), Ok(false));
        for number in 0..COUNT {
            assert_eq!(unloader.try_take(), Ok(Taken::Item(number)));
            unloader.give_back(Vec::new());
        }
        assert!(loader.try_buffer().is_some());
        assert_eq!(loader.try_end(), Ok(true));
        assert_eq!(unloader.try_take(), Ok(Taken::End));
        assert_eq!(unloader.try_take(), Ok(Taken::End), "the end stays the end");
    }

    #[test]
    fn an_end_that_only_looks_sees_that_the_other_one_is_gone() {
        let (loader, mut unloader) = conveyor::<u8, Vec<u8>>(buffers());
        assert_eq!(loader.try_put(1), Ok(()));
        drop(loader);
        assert_eq!(
            unloader.try_take(),
            Ok(Taken::Item(1)),
            "what was put on arrives"
        );
        assert_eq!(unloader.try_take(), Err(Gone));
        let (loader, unloader) = conveyor::<u8, Vec<u8>>(buffers());
        drop(unloader);
        assert_eq!(loader.try_put(1), Err(NotPut::Gone));
        assert_eq!(loader.try_end(), Err(Gone));
    }

    #[test]
    fn a_panic_of_the_loader_is_not_the_end() {
        let (loader, mut unloader) = conveyor::<u8, Vec<u8>>(buffers());
        let thread = thread::spawn(move || {
            loader.put(1).unwrap();
            panic!("as if by a programming error");
        });
        assert_eq!(unloader.take(), Ok(Some(1)));
        assert_eq!(unloader.take(), Err(Gone));
        assert!(thread.join().is_err());
    }

    #[test]
    fn a_loader_does_not_wait_for_an_unloader_that_is_gone() {
        let (loader, unloader) = conveyor::<usize, Vec<u8>>(buffers());
        for number in 0..COUNT {
            loader.buffer().unwrap();
            loader.put(number).unwrap();
        }
        // Both of its waits would last for ever: all buffers are out, and the queue is full.
        let (is_waiting, waits) = channel();
        let thread = thread::spawn(move || {
            is_waiting.send(()).unwrap();
            (loader.buffer(), loader.put(9), loader.end())
        });
        waits.recv().unwrap();
        drop(unloader);
        let ended = (Err(Gone), Err(Gone), Err(Gone));
        assert_eq!(thread.join().unwrap(), ended);
    }

    #[test]
    fn a_panic_of_the_unloader_ends_the_loader() {
        let (loader, mut unloader) = conveyor::<u8, Vec<u8>>(buffers());
        let thread = thread::spawn(move || {
            unloader.take().unwrap();
            panic!("as if by a programming error");
        });
        let mut put = 0;
        while loader.put(0).is_ok() {
            put += 1;
            assert!(put <= COUNT + 1);
        }
        assert!(thread.join().is_err());
        while loader.buffer().is_ok() {}
        assert_eq!(loader.end(), Err(Gone));
    }
}
