//! Room in memory for answers under way: counted for all connections together, and given in turns.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use crate::limits;

/// So many looks in a row at which others waited, and nothing moved, are too many.
const QUIET_LOOKS_MAX: u32 = 5;

/// A room of so many bytes for all answers that are under way at once.
///
/// Who needs some of it waits for its turn. Connections take turns, and those who ask on the same
/// connection are served as they came; nobody overtakes whoever is next because it wants less.
/// So whatever is asked for comes, if what others hold is given back. One connection holds no more
/// than its part, so that it alone holds up nobody. What is larger than the part is had by a
/// connection that holds nothing else, and what is larger than the room while nobody holds
/// anything.
#[derive(Debug)]
pub struct Room {
    bytes: usize,
    /// Of one connection.
    part_bytes: usize,
    waiting_max: usize,
    next: AtomicU64,
    /// As in the state, both: so that asking takes no lock.
    waiting: AtomicUsize,
    taken: AtomicUsize,
    state: Mutex<State>,
}

/// Invariant: a part is in `turns`, once, if it has a turn; and it has one if its first waiter is
/// not held back by what the connection itself holds.
#[derive(Debug, Default)]
struct State {
    /// By all holds; more than there is if something came that could not be asked to wait.
    taken: usize,
    /// Of connections that hold something, or wait.
    parts: BTreeMap<u64, Part>,
    turns: VecDeque<u64>,
    waiting: usize,
}

#[derive(Debug)]
struct Part {
    taken: usize,
    /// The same, for the connection.
    told: Arc<AtomicUsize>,
    holds: BTreeMap<u64, Kept>,
    /// In the order in which they came.
    waiters: BTreeMap<u64, Waiter>,
    has_turn: bool,
}

#[derive(Debug)]
struct Kept {
    bytes: usize,
    /// Looks since the client took some of it; `None` before it is sent.
    quiet: Option<u32>,
}

#[derive(Debug)]
struct Waiter {
    bytes: usize,
    waker: Waker,
}

/// Too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Default for Room {
    fn default() -> Self {
        Self::new(
            limits::ANSWERS_BYTES_MAX,
            limits::ANSWERS_OF_CONNECTION_BYTES_MAX,
            limits::ANSWERS_WAITING_MAX,
        )
    }
}

impl Room {
    /// With so many bytes, of which a connection has no more than a part, and for which so many
    /// may wait.
    pub fn new(bytes: usize, part_bytes: usize, waiting_max: usize) -> Self {
        Self {
            bytes,
            part_bytes,
            waiting_max,
            next: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// The share of a new connection.
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        let small = AtomicUsize::new(0);
        Arc::new(Share { room: Arc::clone(self), id: self.id(), small, taken: Arc::default() })
    }

    /// Whether somebody waits.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Bytes that are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    fn id(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// Carries out a change, and lets in whoever can go on then.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let outcome = change(&mut state);
        let wakers = self.grant(&mut state);
        self.waiting.store(state.waiting, Relaxed);
        self.taken.store(state.taken, Relaxed);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        outcome
    }

    /// Gives to those whose turn it is what they wait for, as far as there is room.
    fn grant(&self, state: &mut State) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(id) = state.turns.front().copied() {
            if let Some(part) = state.parts.get_mut(&id)
                && let Some(bytes) = self.first_of(part)
            {
                if state.taken + bytes > self.bytes {
                    break;
                }
                if let Some((waiter, Waiter { waker, .. })) = part.waiters.pop_first() {
                    part.keep(waiter, bytes);
                    state.taken += bytes;
                    state.waiting -= 1;
                    wakers.push(waker);
                }
            }
            state.turns.pop_front();
            if let Some(part) = state.parts.get_mut(&id) {
                part.has_turn = false;
            }
            self.queue(state, id);
        }
        wakers
    }

    /// What a part's first waiter needs, unless what the part holds keeps it back.
    fn first_of(&self, part: &Part) -> Option<usize> {
        let (_, Waiter { bytes, .. }) = part.waiters.first_key_value()?;
        let bytes = (*bytes).min(self.bytes);
        self.fits(part, bytes).then_some(bytes)
    }

    /// Whether who asks now has it now: nobody is before him.
    fn gives_at_once(&self, state: &State, share: u64, bytes: usize) -> bool {
        let bytes = bytes.min(self.bytes);
        let part = state.parts.get(&share);
        state.turns.is_empty()
            && state.taken + bytes <= self.bytes
            && part.is_none_or(|part| part.waiters.is_empty() && self.fits(part, bytes))
    }

    fn fits(&self, part: &Part, bytes: usize) -> bool {
        part.taken == 0 || part.taken + bytes <= self.part_bytes
    }

    /// Gives a part a turn, if it can use one; forgets one that is empty.
    fn queue(&self, state: &mut State, id: u64) {
        let Some(part) = state.parts.get_mut(&id) else { return };
        if part.holds.is_empty() && part.waiters.is_empty() && !part.has_turn {
            state.parts.remove(&id);
            return;
        }
        let wants = self.first_of(part).is_some();
        if wants && !part.has_turn {
            part.has_turn = true;
            state.turns.push_back(id);
        }
    }
}

impl Part {
    fn new(share: &Share) -> Self {
        Self {
            taken: 0,
            told: Arc::clone(&share.taken),
            holds: BTreeMap::new(),
            waiters: BTreeMap::new(),
            has_turn: false,
        }
    }

    fn keep(&mut self, id: u64, bytes: usize) {
        self.take(bytes);
        self.holds.insert(id, Kept { bytes, quiet: None });
    }

    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        self.told.store(self.taken, Relaxed);
    }

    fn give(&mut self, bytes: usize) {
        self.taken -= bytes;
        self.told.store(self.taken, Relaxed);
    }
}

/// What one connection has of a [`Room`].
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    id: u64,
    /// Bytes of answers that are too small to be counted in the room.
    small: AtomicUsize,
    /// Of the room.
    taken: Arc<AtomicUsize>,
}

impl Share {
    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Waits for so many bytes. Refused at once if too many wait already; whoever gives up drops
    /// what is returned.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Take {
        Take { share: Arc::clone(self), bytes, is_bounded: true, waiter: None }
    }

    /// Counts so many bytes that are there already, and cannot be asked to wait. Others wait for
    /// longer instead.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Hold {
        let id = self.room.id();
        self.room.change(|state| state.keep(self, id, bytes));
        Hold::new(self, id)
    }

    /// Whether so little is under way, here and together, that a small answer need not ask for room.
    pub fn is_light(&self) -> bool {
        self.small.load(Relaxed) < limits::SMALL_ANSWERS_BYTES_MAX
            && self.taken.load(Relaxed) < self.room.part_bytes
            && self.room.taken() < self.room.bytes
    }

    /// Counts a small answer, as long as what is returned lives.
    pub fn small(self: &Arc<Self>, bytes: usize) -> Small {
        self.small.fetch_add(bytes, Relaxed);
        Small { share: Arc::clone(self), bytes }
    }

    /// Looks whether answers go on while others wait: of one that has been quiet for too many looks
    /// in a row, the bytes that it holds. To be called now and then.
    pub fn look(&self) -> Option<usize> {
        if !self.room.is_waited_for() {
            return None;
        }
        let mut state = self.room.state.lock();
        let mut quiet_for_long = None;
        for kept in state.parts.get_mut(&self.id)?.holds.values_mut() {
            if let Some(quiet) = &mut kept.quiet {
                *quiet += 1;
                if *quiet > QUIET_LOOKS_MAX {
                    quiet_for_long = Some(kept.bytes);
                }
            }
        }
        quiet_for_long
    }
}

/// See [`Share::small`].
#[derive(Debug)]
pub struct Small {
    share: Arc<Share>,
    bytes: usize,
}

impl Drop for Small {
    fn drop(&mut self) {
        self.share.small.fetch_sub(self.bytes, Relaxed);
    }
}

/// Waits for its turn: see [`Share::take`].
#[derive(Debug)]
pub struct Take {
    share: Arc<Share>,
    bytes: usize,
    /// Refused if too many wait already.
    is_bounded: bool,
    /// Once it has asked, until it is told.
    waiter: Option<u64>,
}

impl Take {
    /// For what is under way already, and has a bound of its own.
    #[must_use = "nobody waits before it is polled"]
    pub fn however_many_wait(self) -> Self {
        let mut patient = self;
        patient.is_bounded = false;
        patient
    }
}

impl Future for Take {
    type Output = Result<Hold, Full>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (share, room) = (&this.share, &this.share.room);
        let id = *this.waiter.get_or_insert_with(|| room.id());
        let polled = room.change(|state| {
            if state.has(share.id, id) {
                return Poll::Ready(Ok(()));
            }
            let waits = state.waits(share.id, id);
            if !waits && room.gives_at_once(state, share.id, this.bytes) {
                let bytes = this.bytes.min(room.bytes);
                state.keep(share, id, bytes);
                return Poll::Ready(Ok(()));
            }
            if !waits && this.is_bounded && state.waiting >= room.waiting_max {
                return Poll::Ready(Err(Full));
            }
            let waiter = Waiter { bytes: this.bytes, waker: cx.waker().clone() };
            state.part(share).waiters.insert(id, waiter);
            if !waits {
                state.waiting += 1;
                room.queue(state, share.id);
            }
            Poll::Pending
        });
        polled.map(|outcome| {
            this.waiter = None;
            outcome.map(|()| Hold::new(share, id))
        })
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        if let Some(id) = self.waiter {
            self.share.room.change(|state| state.forget(&self.share, id));
        }
    }
}

impl State {
    fn has(&self, share: u64, id: u64) -> bool {
        self.parts.get(&share).is_some_and(|part| part.holds.contains_key(&id))
    }

    fn waits(&self, share: u64, id: u64) -> bool {
        self.parts.get(&share).is_some_and(|part| part.waiters.contains_key(&id))
    }

    fn part(&mut self, share: &Share) -> &mut Part {
        self.parts.entry(share.id).or_insert_with(|| Part::new(share))
    }

    fn keep(&mut self, share: &Share, id: u64, bytes: usize) {
        self.taken += bytes;
        self.part(share).keep(id, bytes);
    }

    /// Gives back what was had, or was waited for.
    fn forget(&mut self, share: &Share, id: u64) {
        let Some(part) = self.parts.get_mut(&share.id) else { return };
        if let Some(Kept { bytes, .. }) = part.holds.remove(&id) {
            part.give(bytes);
            self.taken -= bytes;
        }
        if part.waiters.remove(&id).is_some() {
            self.waiting -= 1;
        }
        share.room.queue(self, share.id);
    }
}

/// Bytes of a [`Room`] that are taken, until the last clone is gone.
#[derive(Clone, Debug)]
pub struct Hold(Arc<Held>);

#[derive(Debug)]
struct Held {
    share: Arc<Share>,
    id: u64,
}

impl Hold {
    fn new(share: &Arc<Share>, id: u64) -> Self {
        Self(Arc::new(Held { share: Arc::clone(share), id }))
    }

    /// What it turned out to be: gives back the rest, or takes more, which cannot be asked to wait
    /// any longer.
    pub fn resize(&self, bytes: usize) {
        let Held { share, id } = &*self.0;
        share.room.change(|state| {
            let Some(part) = state.parts.get_mut(&share.id) else { return };
            let Some(kept) = part.holds.get_mut(id) else { return };
            let before = mem::replace(&mut kept.bytes, bytes);
            part.give(before);
            part.take(bytes);
            state.taken = state.taken - before + bytes;
            share.room.queue(state, share.id);
        });
    }

    /// The client has taken some of it, or begins to.
    pub fn moved(&self) {
        let Held { share, id } = &*self.0;
        let mut state = share.room.state.lock();
        let part = state.parts.get_mut(&share.id);
        if let Some(kept) = part.and_then(|part| part.holds.get_mut(id)) {
            kept.quiet = Some(0);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.room.change(|state| state.forget(&self.share, self.id));
    }
}

#[cfg(test)]
mod tests;
