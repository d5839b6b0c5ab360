//! A timer's signal, and what it copies.
//!
//! What runs inside of the signal allocates nothing, takes no lock, and calls nothing but
//! `process_vm_readv`, by which it reads its own stack: of what is not there that tells, where reading
//! would fault.

#![allow(unsafe_code, reason = "a signal's handler has pointers of the system's")]

use std::{
    cell::UnsafeCell,
    io, mem, ptr,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release, SeqCst},
    },
    thread,
    time::Duration,
};

use libc::{c_int, c_void, siginfo_t};

/// Of a stack so much is copied, from its top.
const STACK_BYTES: usize = 64 * 1024;
const PAGE_BYTES: usize = 4096;
/// Samples that wait to be looked at.
const SLOTS: usize = 64;

/// Where a thread was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Registers {
    pub(crate) pc: u64,
    pub(crate) sp: u64,
    pub(crate) fp: u64,
    /// Where there is one.
    #[cfg_attr(target_arch = "x86_64", allow(dead_code, reason = "there is none"))]
    pub(crate) lr: u64,
}

/// What is copied of a thread.
pub(crate) struct Sample {
    thread: i32,
    pub(crate) registers: Registers,
    /// Of [`STACK_BYTES`].
    stack: Box<[u8]>,
    /// So much of it.
    stack_bytes: usize,
}

impl Sample {
    pub(crate) fn thread(&self) -> i32 {
        self.thread
    }

    /// Begins where the stack's pointer points to.
    pub(crate) fn stack(&self) -> &[u8] {
        self.stack.get(..self.stack_bytes).unwrap_or_default()
    }
}

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const FULL: u8 = 2;

/// Invariant: who moves `state` from `FREE` to `TAKEN` alone touches the sample until it is `FULL`, and
/// then [`Sampling`] alone until it is `FREE`.
struct Slot {
    state: AtomicU8,
    sample: UnsafeCell<Sample>,
}

struct Ring {
    slots: Box<[Slot]>,
    next: AtomicUsize,
    lost: AtomicU64,
}

/// Signals write here, if there is one.
static RING: AtomicPtr<Ring> = AtomicPtr::new(ptr::null_mut());
/// Threads inside of the handler: as long as there are any the ring they may have seen stays.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Signals come as long as it lives.
pub(crate) struct Sampling {
    /// The one in [`RING`].
    ring: *mut Ring,
}

impl Sampling {
    pub(crate) fn begin(frequency: u32) -> Result<Self, io::Error> {
        if IS_TAKEN.swap(true, SeqCst) {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy));
        }
        let ring = Box::new(Ring::new());
        let sampling = Self { ring: Box::into_raw(ring) };
        RING.store(sampling.ring, SeqCst);
        // Dropped, and so undone, if it fails.
        listen()?;
        set_timer(1_000_000 / libc::suseconds_t::from(frequency.clamp(1, 1_000).cast_signed()))?;
        Ok(sampling)
    }

    /// Hands over what has been copied.
    pub(crate) fn drain(&self, mut each: impl FnMut(&Sample)) {
        for slot in &self.ring().slots {
            if slot.state.load(Acquire) == FULL {
                // SAFETY: it is `FULL`, so nobody else touches it (see `Slot`).
                each(unsafe { &*slot.sample.get() });
                slot.state.store(FREE, Release);
            }
        }
    }

    /// Stops, hands over the rest, and returns how many samples found no room.
    pub(crate) fn end(self, each: impl FnMut(&Sample)) -> u64 {
        Self::stop();
        self.drain(each);
        self.ring().lost.load(Relaxed)
    }

    fn ring(&self) -> &Ring {
        // SAFETY: it was made in `begin`, and goes in `drop`.
        unsafe { &*self.ring }
    }

    /// No signal writes any more.
    fn stop() {
        // Without a timer samples are merely lost.
        drop(set_timer(0));
        RING.store(ptr::null_mut(), SeqCst);
        // Whoever is inside since before that has seen the ring, and is counted: of both orders it sees
        // one. It is out as soon as it runs.
        while INSIDE.load(SeqCst) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        Self::stop();
        // SAFETY: it was made by `Box::into_raw`, no signal sees it any more, and `self` goes.
        drop(unsafe { Box::from_raw(self.ring) });
        IS_TAKEN.store(false, SeqCst);
    }
}

impl Ring {
    fn new() -> Self {
        let slot = || Slot {
            state: AtomicU8::new(FREE),
            sample: UnsafeCell::new(Sample {
                thread: 0,
                registers: Registers::default(),
                stack: vec![0; STACK_BYTES].into_boxed_slice(),
                stack_bytes: 0,
            }),
        };
        let slots = (0..SLOTS).map(|_| slot()).collect();
        Self { slots, next: AtomicUsize::new(0), lost: AtomicU64::new(0) }
    }

    /// Inside of a signal.
    fn note(&self, registers: Registers) {
        let at = self.next.fetch_add(1, Relaxed) % SLOTS;
        let Some(slot) = self.slots.get(at) else { return };
        if slot.state.compare_exchange(FREE, TAKEN, Acquire, Relaxed).is_err() {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        // SAFETY: it was `FREE` and is ours now (see `Slot`).
        let sample = unsafe { &mut *slot.sample.get() };
        sample.registers = registers;
        // SAFETY: it only tells.
        sample.thread = unsafe { libc::gettid() };
        sample.stack_bytes = read(registers.sp, &mut sample.stack);
        slot.state.store(FULL, Release);
    }
}

/// Reads this process's memory from `address` on, as far as it is there. Inside of a signal.
fn read(address: u64, into: &mut [u8]) -> usize {
    let Ok(address) = usize::try_from(address) else { return 0 };
    let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    // Page by page, for all or nothing of each is read.
    let mut pages = [nothing; STACK_BYTES / PAGE_BYTES + 1];
    let (mut at, mut left) = (address, into.len().min(STACK_BYTES));
    for page in &mut pages {
        let length = left.min(PAGE_BYTES - at % PAGE_BYTES);
        *page = libc::iovec { iov_base: ptr::without_provenance_mut(at), iov_len: length };
        (at, left) = (at.saturating_add(length), left - length);
    }
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: it only tells.
    let process = unsafe { libc::getpid() };
    let count = pages.len() as libc::c_ulong;
    // SAFETY: `local` is a buffer of that length, and of what the others point to nothing is touched that is
    // not there.
    let read =
        unsafe { libc::process_vm_readv(process, &raw const local, 1, pages.as_ptr(), count, 0) };
    usize::try_from(read).unwrap_or(0)
}

extern "C" fn handle(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: it is this thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    INSIDE.fetch_add(1, SeqCst);
    let ring = RING.load(SeqCst);
    // SAFETY: a ring that is seen here stays until nobody is inside (see `Sampling::stop`).
    if let Some(ring) = unsafe { ring.as_ref() } {
        // SAFETY: the handler is there with `SA_SIGINFO`, so that this is what the system hands over.
        if let Some(context) = unsafe { context.cast::<libc::ucontext_t>().as_ref() } {
            ring.note(registers(context));
        }
    }
    INSIDE.fetch_sub(1, SeqCst);
    // SAFETY: as above. Whoever was interrupted sees no error of ours.
    unsafe { *errno = before };
}

#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    let all = &context.uc_mcontext.gregs;
    let of = |name: c_int| {
        let value = usize::try_from(name).ok().and_then(|at| all.get(at)).copied();
        value.unwrap_or_default().cast_unsigned()
    };
    Registers { pc: of(libc::REG_RIP), sp: of(libc::REG_RSP), fp: of(libc::REG_RBP), lr: 0 }
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    let machine = &context.uc_mcontext;
    let of = |at: usize| machine.regs.get(at).copied().unwrap_or_default();
    Registers { pc: machine.pc, sp: machine.sp, fp: of(29), lr: of(30) }
}

/// The handler stays, once it is there: a last signal may still come, whose default is to end the process.
fn listen() -> Result<(), io::Error> {
    // SAFETY: all zeros are an action: the default, without flags.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handle as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the handler does what a handler may (see above).
    check(unsafe { libc::sigaction(libc::SIGPROF, &raw const action, ptr::null_mut()) })
}

/// So many microseconds of the processor's time lie between two signals; none come if zero.
fn set_timer(microseconds: libc::suseconds_t) -> Result<(), io::Error> {
    let interval = libc::timeval {
        tv_sec: (microseconds / 1_000_000) as libc::time_t,
        tv_usec: microseconds % 1_000_000,
    };
    let timer = libc::itimerval { it_interval: interval, it_value: interval };
    // SAFETY: it is read, and nothing is written.
    check(unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, ptr::null_mut()) })
}

fn check(returned: c_int) -> Result<(), io::Error> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
