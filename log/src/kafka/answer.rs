//! How the answer to an append finds its way from librdkafka's thread to the task that waits for it.
//!
//! One [`Ticket`] travels through librdkafka with each record and comes back with its delivery report. Waking a task of another
//! thread costs a lock and a system call, and reports come in bursts. So the tickets of a runtime that runs on one thread are
//! handed over in its [`Letterbox`], whose own task is woken once for a burst and wakes the others on the spot.
//!
//! Promises: a ticket that comes back is answered at once, whatever becomes of the letterbox; who waits is woken once its runtime
//! gets to it. A runtime of several threads has no letterbox: there each task is woken by itself.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id, RuntimeFlavor};
use tokio::sync::Notify;

use crate::{AppendError, Offset};

/// Resolves to what became of a record. Dropping it withdraws nothing.
pub(super) struct Answer {
    ticket: Arc<Ticket>,
}

/// Travels through librdkafka with a record.
pub(super) struct Ticket {
    /// Bytes of the queue that the record takes.
    cost: usize,
    letterbox: Option<Arc<Letterbox>>,
    state: Mutex<State>,
}

enum State {
    Travelling(Option<Waker>),
    Settled(Result<Offset, AppendError>),
    Taken,
}

impl Answer {
    pub(super) fn new(cost: usize) -> (Answer, Arc<Ticket>) {
        let state = Mutex::new(State::Travelling(None));
        let ticket = Arc::new(Ticket { cost, letterbox: Letterbox::of_this_thread(), state });
        (Answer { ticket: Arc::clone(&ticket) }, ticket)
    }
}

impl Future for Answer {
    type Output = Result<Offset, AppendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.ticket.state.lock();
        match &mut *state {
            State::Travelling(Some(waker)) if waker.will_wake(context.waker()) => Poll::Pending,
            State::Travelling(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            State::Settled(_) => match std::mem::replace(&mut *state, State::Taken) {
                State::Settled(answer) => Poll::Ready(answer),
                State::Travelling(_) | State::Taken => Poll::Pending,
            },
            // Asked again after its answer, which no caller does.
            State::Taken => Poll::Pending,
        }
    }
}

impl Ticket {
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Answers and sees to it that the waiting task is woken. The caller of `append` may have gone away; then nobody needs to
    /// know.
    pub(super) fn settle(&self, answer: Result<Offset, AppendError>) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Settled(answer));
        let State::Travelling(Some(waker)) = before else { return };
        match &self.letterbox {
            Some(letterbox) => letterbox.deliver(waker),
            None => waker.wake(),
        }
    }
}

/// Tasks of one thread that are to be woken.
struct Letterbox {
    /// `None` once the runtime has ended.
    letters: Mutex<Option<Vec<Waker>>>,
    arrived: Notify,
}

impl Letterbox {
    /// The one of the runtime that runs on this thread, if it runs on no other.
    fn of_this_thread() -> Option<Arc<Letterbox>> {
        thread_local! {
            static LETTERBOX: RefCell<Option<(Id, Arc<Letterbox>)>> = const { RefCell::new(None) };
        }
        let runtime = Handle::try_current().ok()?;
        if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
            return None;
        }
        LETTERBOX.with_borrow_mut(|letterbox| match letterbox {
            Some((id, letterbox)) if *id == runtime.id() => Some(Arc::clone(letterbox)),
            other => {
                let letterbox = Arc::new(Letterbox { letters: Mutex::new(Some(Vec::new())), arrived: Notify::new() });
                runtime.spawn(Postman(Arc::clone(&letterbox)).work());
                *other = Some((runtime.id(), Arc::clone(&letterbox)));
                Some(letterbox)
            }
        })
    }

    fn deliver(&self, waker: Waker) {
        let mut letters = self.letters.lock();
        let Some(waiting) = &mut *letters else {
            drop(letters);
            return waker.wake();
        };
        waiting.push(waker);
        let is_first = waiting.len() == 1;
        drop(letters);
        // Whoever comes second is taken along.
        if is_first {
            self.arrived.notify_one();
        }
    }
}

/// The task of a letterbox.
struct Postman(Arc<Letterbox>);

impl Postman {
    async fn work(self) {
        let mut taken = Vec::new();
        loop {
            self.0.arrived.notified().await;
            if let Some(letters) = &mut *self.0.letters.lock() {
                std::mem::swap(letters, &mut taken);
            }
            taken.drain(..).for_each(Waker::wake);
        }
    }
}

impl Drop for Postman {
    fn drop(&mut self) {
        let letters = self.0.letters.lock().take();
        letters.into_iter().flatten().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OFFSET: Offset = Offset(7);

    /// Appends of one runtime that are answered by another thread, in bursts.
    async fn answered_elsewhere(records: u64) -> Vec<u64> {
        let (answers, tickets): (Vec<_>, Vec<_>) = (0..records).map(|_| Answer::new(1)).unzip();
        let waiting: Vec<_> = answers.into_iter().map(tokio::spawn).collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
        std::thread::spawn(move || {
            for (offset, ticket) in tickets.into_iter().enumerate() {
                ticket.settle(Ok(Offset(offset as u64)));
            }
        });
        let mut offsets = Vec::new();
        for answer in waiting {
            offsets.push(answer.await.expect("no panic").expect("settled").0);
        }
        offsets
    }

    #[tokio::test]
    async fn everybody_who_waits_on_one_thread_is_woken() {
        assert!(answered_elsewhere(10_000).await.into_iter().eq(0..10_000));
        assert!(answered_elsewhere(1).await.into_iter().eq(0..1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everybody_who_waits_on_several_threads_is_woken() {
        assert!(answered_elsewhere(10_000).await.into_iter().eq(0..10_000));
    }

    #[tokio::test]
    async fn an_answer_before_the_question_is_kept_and_one_for_nobody_is_dropped() {
        let (answer, ticket) = Answer::new(1);
        ticket.settle(Ok(OFFSET));
        assert_eq!(answer.await, Ok(OFFSET));
        let (answer, ticket) = Answer::new(1);
        drop(answer);
        ticket.settle(Ok(OFFSET));
    }

    #[test]
    fn who_waits_outlives_the_runtime_that_asked() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let asking = runtime();
        let (answer, ticket) = asking.block_on(async {
            let asked = Answer::new(1);
            tokio::task::yield_now().await;
            asked
        });
        drop(asking);
        let settling = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            ticket.settle(Ok(OFFSET));
        });
        assert_eq!(runtime().block_on(answer), Ok(OFFSET));
        settling.join().expect("no panic");
    }
}
