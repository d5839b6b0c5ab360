//! An answer that is there, or on its way.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::{reply::Reply, watchdog::Activity};

/// An answer that is there, or on its way.
pub(crate) enum Answering {
    Now(Option<Reply>),
    Later(Pin<Box<dyn Future<Output = Reply> + Send>>),
    /// When somebody else gives something up, perhaps: no longer than the client is there.
    Waiting(Pin<Box<dyn Future<Output = Reply> + Send>>),
}

impl Answering {
    pub(crate) fn now(reply: Reply) -> Self {
        Self::Now(Some(reply))
    }

    /// Tells `activity` when the answer is there.
    pub(crate) fn counted(self, activity: &Activity) -> Counted<'_> {
        activity.begin();
        if matches!(self, Self::Waiting(_)) {
            activity.watch();
        }
        Counted { answering: self, activity }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Reply> {
        match self {
            Self::Now(reply) => reply.take().map_or(Poll::Pending, Poll::Ready),
            Self::Later(answer) | Self::Waiting(answer) => answer.as_mut().poll(cx),
        }
    }
}

/// See [`Answering::counted`].
pub(crate) struct Counted<'a> {
    answering: Answering,
    activity: &'a Activity,
}

impl Future for Counted<'_> {
    type Output = Result<Reply, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(self.answering.poll_reply(cx));
        self.activity.end(&reply);
        Poll::Ready(Ok(reply))
    }
}
