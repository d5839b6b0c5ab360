//! Polling again at once what was woken while it was being polled.
//!
//! hyper hands a request's body to its reader through a channel of which both ends are in the same
//! task: the task wakes itself while it runs. tokio takes that for a task that steps back for
//! others, queues it, and wakes another thread to help. For one write at a time that costs as much
//! as the rest of it.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicU8,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    task::{Context, Poll, Wake, Waker},
};

/// How often a task goes on at once before it lets others run.
const AGAIN_MAX: usize = 4;

const IDLE: u8 = 0;
const POLLED: u8 = 1;
const WOKEN: u8 = 2;

/// A future that is polled again at once if it was woken meanwhile.
pub(crate) struct AtOnce<F> {
    future: F,
    alarm: Arc<Alarm>,
    waker: Waker,
}

/// Invariant: a wake-up either finds [`POLLED`] and makes it [`WOKEN`], and then the future is
/// polled once more; or it goes to the task.
struct Alarm {
    state: AtomicU8,
    /// The task's; it stays the same as long as the task lives.
    task: OnceLock<Waker>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let found = self.state.compare_exchange(POLLED, WOKEN, AcqRel, Acquire);
        if found == Err(IDLE)
            && let Some(task) = self.task.get()
        {
            task.wake_by_ref();
        }
    }
}

impl<F: Future + Unpin> AtOnce<F> {
    /// To be polled by one task alone, as a spawned one is.
    pub(crate) fn new(future: F) -> Self {
        let alarm = Arc::new(Alarm { state: AtomicU8::new(IDLE), task: OnceLock::new() });
        let waker = Waker::from(Arc::clone(&alarm));
        Self { future, alarm, waker }
    }
}

impl<F: Future + Unpin> Future for AtOnce<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.alarm.task.get_or_init(|| cx.waker().clone());
        let mut inner = Context::from_waker(&this.waker);
        for _ in 0..AGAIN_MAX {
            this.alarm.state.store(POLLED, Release);
            if let Poll::Ready(output) = Pin::new(&mut this.future).poll(&mut inner) {
                return Poll::Ready(output);
            }
            if this.alarm.state.compare_exchange(POLLED, IDLE, AcqRel, Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        this.alarm.state.store(IDLE, Release);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests need threads of their own")]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Polls once a future that wakes itself so often; returns how often that polled it, and how
    /// often its task was woken.
    fn poll_once(wakes: usize) -> (usize, usize) {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut polls = 0;
        let future = poll_fn(|cx| {
            polls += 1;
            if polls <= wakes {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        let polled = Pin::new(&mut AtOnce::new(future)).poll(&mut Context::from_waker(&waker));
        assert_eq!(polled, Poll::Pending);
        (polls, count.0.load(Relaxed))
    }

    #[test]
    fn what_wakes_itself_goes_on_at_once_but_not_for_ever() {
        assert_eq!(poll_once(0), (1, 0));
        assert_eq!(poll_once(1), (2, 0));
        assert_eq!(poll_once(AGAIN_MAX - 1), (AGAIN_MAX, 0));
        assert_eq!(poll_once(AGAIN_MAX), (AGAIN_MAX, 1));
    }

    #[test]
    fn who_is_woken_from_outside_is_polled_by_its_task() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut kept = None;
        let mut future = AtOnce::new(poll_fn(|cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        assert_eq!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)), Poll::Pending);
        drop(future);
        kept.expect("it was polled").wake();
        assert_eq!(count.0.load(Relaxed), 1);
    }

    #[test]
    fn no_wake_up_from_another_thread_is_lost() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let mut tasks = Vec::new();
            for _ in 0..64 {
                let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
                tasks.push(tokio::spawn(AtOnce::new(Box::pin(async move {
                    for expected in 0..200 {
                        assert_eq!(receiver.recv().await, Some(expected));
                    }
                }))));
                tokio::spawn(async move {
                    for number in 0..200 {
                        sender.send(number).unwrap();
                        tokio::task::yield_now().await;
                    }
                });
            }
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
}
