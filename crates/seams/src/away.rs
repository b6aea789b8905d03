//! Work away from the event loop: on threads that may block, where a file or a processor is waited for.
//!
//! Whoever drives an event loop by hand, as a simulation does, must know when it waits for nothing
//! but itself. So it counts such work, which is then done one piece after the other, in the order in
//! which it was asked for. Nobody counts otherwise, and then it costs one look at the thread's own
//! data.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};

thread_local! {
    static COUNTED: RefCell<Option<Arc<Semaphore>>> = const { RefCell::new(None) };
}

/// Who counts the work of one event loop. Clones are the same.
#[derive(Debug, Clone)]
pub struct Counter(Arc<Semaphore>);

impl Default for Counter {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Counter {
    /// Counts what this thread sends away while `work` runs.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = COUNTED.replace(Some(Arc::clone(&self.0)));
        let done = work();
        COUNTED.set(before);
        done
    }

    /// Whether something is away.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.0.available_permits() == 0
    }
}

/// Something that is away, until this is dropped.
#[derive(Debug, Default)]
#[must_use]
pub struct Away(Option<OwnedSemaphorePermit>);

impl Away {
    fn is_counted(&self) -> bool {
        self.0.is_some()
    }
}

/// Goes away, after whoever went before is back.
pub async fn go() -> Away {
    let counter = COUNTED.with_borrow(Clone::clone);
    match counter {
        // The semaphore is never closed.
        Some(counter) => Away(counter.acquire_owned().await.ok()),
        None => Away(None),
    }
}

/// Does `work` on a thread that may block.
///
/// # Errors
///
/// [`JoinError`] when the work panics.
pub async fn block<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let away = go().await;
    let mut working = Working(Some((tokio::task::spawn_blocking(work), away)));
    let done = poll_fn(|cx| match &mut working.0 {
        Some((thread, _)) => Pin::new(thread).poll(cx),
        None => Poll::Pending,
    });
    let done = done.await;
    working.0 = None;
    done
}

/// A thread at work, which does not stop when nobody waits for it any more.
struct Working<T: Send + 'static>(Option<(JoinHandle<T>, Away)>);

impl<T: Send + 'static> Drop for Working<T> {
    fn drop(&mut self) {
        if let Some((thread, away)) = self.0.take()
            && away.is_counted()
        {
            tokio::spawn(async move {
                drop(thread.await);
                drop(away);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn one_piece_is_away_at_a_time_and_counted_until_it_is_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("an event loop");
        let counter = Counter::default();
        let (end, ended) = channel::<()>();
        counter.during(|| {
            let _inside = runtime.enter();
            let mut cx = Context::from_waker(Waker::noop());
            let mut first = Box::pin(block(move || ended.recv()));
            let mut second = Box::pin(block(|| 2));
            assert!(first.as_mut().poll(&mut cx).is_pending());
            assert!(second.as_mut().poll(&mut cx).is_pending());
            assert!(counter.is_waited_for());
            end.send(()).expect("it waits");
            runtime.block_on(async {
                assert!(first.await.is_ok_and(|done| done.is_ok()));
                assert_eq!(second.await.ok(), Some(2));
            });
            assert!(!counter.is_waited_for());
        });
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_counted_to_its_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("an event loop");
        let counter = Counter::default();
        let (end, ended) = channel::<()>();
        counter.during(|| {
            runtime.block_on(async {
                let mut left = Box::pin(block(move || ended.recv()));
                let mut cx = Context::from_waker(Waker::noop());
                assert!(left.as_mut().poll(&mut cx).is_pending());
                drop(left);
                assert!(counter.is_waited_for());
                end.send(()).expect("it works");
                drop(go().await);
                assert!(!counter.is_waited_for());
            });
        });
    }
}
