//! Something that changes, for others to look at again.
//!
//! It wakes those who wait in the order in which they began to. Tokio's `watch` wakes them in an
//! order of chance, which no simulation could repeat.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Rung when something has changed. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Rope>);

#[derive(Debug, Default)]
struct Rope {
    rung: AtomicU64,
    woken: Notify,
}

/// Waits for the bell to be rung.
#[derive(Debug)]
pub struct Hearer {
    bell: Bell,
    // How often it was rung when this one last heard it.
    heard: u64,
}

impl Bell {
    /// Wakes all who wait.
    pub fn ring(&self) {
        self.0.rung.fetch_add(1, Ordering::AcqRel);
        self.0.woken.notify_waiters();
    }

    /// Hears it from now on.
    #[must_use]
    pub fn hearer(&self) -> Hearer {
        Hearer {
            bell: self.clone(),
            heard: self.rung(),
        }
    }

    fn rung(&self) -> u64 {
        self.0.rung.load(Ordering::Acquire)
    }
}

impl Hearer {
    /// Takes what was rung so far for heard. Done before looking at what may have changed, so that a
    /// change in between ends the next wait.
    pub fn catch_up(&mut self) {
        self.heard = self.bell.rung();
    }

    /// Waits until it is rung once more than was heard.
    pub async fn rung(&mut self) {
        loop {
            let mut woken = pin!(self.bell.0.woken.notified());
            woken.as_mut().enable();
            let rung = self.bell.rung();
            if rung != self.heard {
                self.heard = rung;
                return;
            }
            woken.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_began_to() {
        let bell = Bell::default();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = JoinSet::new();
        for number in 0..20 {
            let (mut hearer, woken) = (bell.hearer(), Arc::clone(&woken));
            waiting.spawn(async move {
                hearer.rung().await;
                woken.lock().expect("the order").push(number);
            });
        }
        yield_now().await;
        bell.ring();
        waiting.join_all().await;
        let woken = woken.lock().expect("the order");
        assert_eq!(*woken, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_was_rung_before_the_wait_ends_it_unless_it_was_caught_up_with() {
        let bell = Bell::default();
        let mut hearer = bell.hearer();
        bell.ring();
        hearer.rung().await;
        bell.ring();
        hearer.catch_up();
        tokio::select! {
            biased;
            () = hearer.rung() => panic!("nobody rang"),
            () = std::future::ready(()) => {}
        }
    }
}
