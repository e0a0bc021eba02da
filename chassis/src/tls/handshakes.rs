//! Room for handshakes: a new one always gets in, at the cost of the oldest.
//!
//! An honest handshake is over after two round trips, so the oldest one of many is one that was never meant to end. Waiting in
//! line instead would let those who never end it keep everybody out.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

pub(super) struct Handshakes {
    most: usize,
    under_way: Arc<Mutex<UnderWay>>,
}

#[derive(Default)]
struct UnderWay {
    next: u64,
    /// By age.
    places: BTreeMap<u64, Arc<Notify>>,
}

/// One handshake's place, until it is dropped.
pub(super) struct Place {
    number: u64,
    pushed: Arc<Notify>,
    under_way: Arc<Mutex<UnderWay>>,
}

impl Handshakes {
    pub(super) fn new(most: usize) -> Self {
        Self { most, under_way: Arc::default() }
    }

    pub(super) fn enter(&self) -> Place {
        let pushed = Arc::new(Notify::new());
        let mut under_way = self.under_way.lock();
        let number = under_way.next;
        under_way.next += 1;
        under_way.places.insert(number, Arc::clone(&pushed));
        if under_way.places.len() > self.most
            && let Some((_, oldest)) = under_way.places.pop_first()
        {
            oldest.notify_one();
        }
        Place { number, pushed, under_way: Arc::clone(&self.under_way) }
    }
}

impl Place {
    pub(super) async fn pushed_out(&self) {
        self.pushed.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.lock().places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_pushed_out(place: &Place) -> bool {
        tokio::select! {
            biased;
            () = place.pushed_out() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn one_too_many_pushes_out_the_oldest_that_is_still_there() {
        let handshakes = Handshakes::new(2);
        let (first, second) = (handshakes.enter(), handshakes.enter());
        drop(first);
        let third = handshakes.enter();
        assert!(!is_pushed_out(&second).await);
        let fourth = handshakes.enter();
        assert!(is_pushed_out(&second).await);
        assert!(!is_pushed_out(&third).await && !is_pushed_out(&fourth).await);
        drop((second, third, fourth));
        assert!(handshakes.under_way.lock().places.is_empty());
    }
}
