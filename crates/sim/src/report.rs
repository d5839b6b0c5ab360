//! How much a run has done: one in which little went wrong proves little.

use std::ops::AddAssign;

use state::membership::{Member, Members};

macro_rules! report {
    ($($(#[$doc:meta])* $name:ident: $text:literal,)*) => {
        /// How much a run has done, or several together.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Report {
            $($(#[$doc])* pub $name: u64,)*
            /// Ticks that it took to heal, at most.
            pub healing_ticks: u64,
        }

        impl Report {
            /// Every count with its name.
            pub fn counts(&self) -> Vec<(&'static str, u64)> {
                vec![$(($text, self.$name),)* ("ticks to heal at most", self.healing_ticks)]
            }
        }

        impl AddAssign for Report {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
                self.healing_ticks = self.healing_ticks.max(other.healing_ticks);
            }
        }
    };
}

report! {
    steps: "steps",
    sent: "writes sent",
    acknowledged: "writes acknowledged",
    /// By the judge of linearizability.
    judged: "operations judged",
    /// Of those, changes of which nobody was told what became of them.
    unknown: "of unknown outcome",
    /// Seeds whose history was not judged within the bound by what clients were told alone, and of
    /// those the ones that were not with what the log says either.
    hard: "histories that clients leave undecided",
    undecided: "histories left undecided",
    /// Commits that watchers were handed.
    told: "commits told to watchers",
    told_v3: "events told to watchers of v3",
    /// To who takes them; and what was read while it was sent to the others.
    parts: "fragments of answers to watches",
    large: "answers to watches in pieces",
    bookmarks: "bookmarks",
    reads: "read indexes given",
    delivered: "messages delivered",
    lost: "messages lost",
    repeated: "messages repeated",
    /// Delivered before one that was sent earlier on the same way.
    overtaken: "messages overtaken",
    parted: "cuts of the network",
    /// Of those, in one direction only.
    one_way: "cuts of one direction",
    crashes: "losses of power",
    /// Files that have lost what was not synced, and those of them that have kept a part of it.
    unsynced: "files with unsynced bytes lost",
    torn: "files with torn writes",
    /// Moments at each of which a run that was otherwise the same was broken off.
    exhausted: "moments tried one by one",
    killed: "processes killed",
    failed_syncs: "syncs that failed",
    full: "full disks",
    paused: "processes paused",
    slow: "disks that became slow",
    skewed: "clocks moved",
    elections: "elections",
    /// By leaders; and what new ones began with.
    noted: "leases noted down",
    resumed: "leases taken over with a note",
    handed_over: "leaders asked to hand over",
    proposed_again: "proposals proposed again",
    rebuilt: "snapshots asked for in place of what is there",
    added: "members added",
    removed: "members removed",
    promoted: "learners promoted",
    moved: "members moved",
    /// To a build that is a version on; and what only such a one knows.
    upgraded: "members upgraded",
    new: "commands of the next version",
    /// Of the log.
    cuts: "cuts of the log",
    compactions: "compactions",
    /// That came to a follower whole, that broke off on the way, and that were taken over.
    snapshots: "snapshots sent",
    broken_off: "snapshots broken off",
    installs: "snapshots installed",
    /// Clusters that went on with one member by force.
    forced: "clusters forced to go on",
}

impl Report {
    /// Counts what an entry has changed.
    pub(crate) fn count_changes(&mut self, before: &Members, after: &Members) {
        let (before, after) = (&before.members, &after.members);
        let is_learner = |member: Option<&Member>| member.is_some_and(|member| member.learner);
        self.added += after.keys().filter(|id| !before.contains_key(id)).count() as u64;
        self.removed += before.keys().filter(|id| !after.contains_key(id)).count() as u64;
        let promoted = after
            .iter()
            .filter(|(id, member)| is_learner(before.get(id)) && !is_learner(Some(member)));
        self.promoted += promoted.count() as u64;
        let urls = |member: &Member| member.peer_urls.clone();
        let moved = after.iter().filter(|(id, member)| {
            before.get(id).map(urls).is_some_and(|before| before != member.peer_urls)
        });
        self.moved += moved.count() as u64;
    }
}
