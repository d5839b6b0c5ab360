//! Which of a stream's watches have something to tell.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    task::{Wake, Waker},
};

use parking_lot::Mutex;

/// The watches of a stream that were woken, the first first: so that a stream of a thousand watches
/// asks only those.
#[derive(Debug, Default)]
pub(super) struct Wakes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    order: VecDeque<i64>,
    /// Those in `order`: each stands there once.
    queued: BTreeSet<i64>,
    /// Of whoever polls the stream.
    stream: Option<Waker>,
}

impl Wakes {
    /// What a watch is polled with.
    pub(super) fn waker(self: &Arc<Self>, watch_id: i64) -> Waker {
        Arc::new(Alarm { wakes: Arc::clone(self), watch_id }).into()
    }

    /// Whoever polls the stream is to hear of wake-ups.
    pub(super) fn listen(&self, waker: &Waker) {
        let mut state = self.0.lock();
        match &mut state.stream {
            Some(stream) => stream.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// A watch is to be asked.
    pub(super) fn wake(&self, watch_id: i64) {
        let mut state = self.0.lock();
        if state.queued.insert(watch_id) {
            state.order.push_back(watch_id);
            if let Some(stream) = &state.stream {
                stream.wake_by_ref();
            }
        }
    }

    /// The next one to ask.
    pub(super) fn take(&self) -> Option<i64> {
        let mut state = self.0.lock();
        let watch_id = state.order.pop_front()?;
        state.queued.remove(&watch_id);
        Some(watch_id)
    }
}

struct Alarm {
    wakes: Arc<Wakes>,
    watch_id: i64,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wakes.wake(self.watch_id);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.wake(self.watch_id);
    }
}
