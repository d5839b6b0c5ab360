//! Answering a request of HTTP/2 where it is read, if that can be done at once.
//!
//! hyper makes a task of every request. Where very many come, each of these waits for its turn behind
//! all others, only to be refused, or to find what it reads in memory.

use std::{
    cell::Cell,
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use hyper::rt::Executor;

thread_local! {
    /// Whether what runs here holds up a connection.
    static AT_CONNECTION: Cell<bool> = const { Cell::new(false) };
}

/// Begins with a request where it is read, and makes a task of it only if it has to wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Eager;

impl<F> Executor<F> for Eager
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let mut future = Box::pin(future);
        let here = Here::begin();
        // Whoever wakes it meanwhile wakes nobody: its task begins with looking again.
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(here);
        if polled.is_pending() {
            drop(tokio::spawn(future));
        }
    }
}

struct Here(bool);

impl Here {
    fn begin() -> Self {
        Self(AT_CONNECTION.replace(true))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        AT_CONNECTION.set(self.0);
    }
}

/// Goes on in a task of its own: what follows may take long, and must not hold up what else comes on
/// its connection.
pub(crate) async fn step_back() {
    let mut is_here = AT_CONNECTION.get();
    poll_fn(|_| if std::mem::take(&mut is_here) { Poll::Pending } else { Poll::Ready(()) }).await;
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_is_ready_is_done_at_once_and_what_steps_back_is_not() {
        let (told, tells) = mpsc::channel();
        let tell = told.clone();
        Eager.execute(async move { tell.send("at once").unwrap() });
        assert_eq!(tells.try_recv(), Ok("at once"));
        let tell = told.clone();
        Eager.execute(async move {
            tell.send("here").unwrap();
            step_back().await;
            assert!(!AT_CONNECTION.get());
            tell.send("elsewhere").unwrap();
            step_back().await;
            tell.send("still there").unwrap();
        });
        assert_eq!(tells.try_recv(), Ok("here"));
        assert!(tells.try_recv().is_err());
        tokio::task::yield_now().await;
        assert_eq!(tells.try_iter().collect::<Vec<_>>(), ["elsewhere", "still there"]);
        assert!(!AT_CONNECTION.get());
    }

    /// It was woken before it had a task.
    #[tokio::test]
    async fn no_wake_up_is_lost() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let (done, is_done) = tokio::sync::oneshot::channel();
        Eager.execute(async move {
            told.await.unwrap();
            done.send(()).unwrap();
        });
        tell.send(()).unwrap();
        is_done.await.unwrap();
    }
}
