//! Watch, bookmarkable: when progress is told, all up to there was told, and nothing of it comes later.

use proto::mvccpb::Event;

use crate::{
    Violation,
    clients::watches::{Client, pairs},
    history::History,
};

const NAME: &str = "watch bookmarkable";

/// The member is there, and nothing up to there is still to come; and it is not behind what was told.
pub(crate) fn is_true(
    history: &History,
    client: &Client,
    bookmark: i64,
    revision: i64,
) -> Result<(), Violation> {
    let untold = client.next_after(history, client.position).map(|commit| commit.main);
    let is_early = untold.is_some_and(|untold| untold <= bookmark);
    if is_early || bookmark > revision || bookmark < client.last || bookmark < client.bookmark {
        let text = format!(
            "{bookmark} at revision {revision}, after {} and {}; {untold:?} is to come",
            client.last, client.bookmark
        );
        return Err(Violation::new(NAME, text));
    }
    Ok(())
}

/// Events come from behind the last bookmark.
pub(crate) fn is_kept(client: &Client, events: &[Event]) -> Result<(), Violation> {
    match pairs(events).find(|(kv, _)| kv.mod_revision <= client.bookmark) {
        None => Ok(()),
        Some((kv, _)) => {
            let text =
                format!("{} is told after the bookmark {}", kv.mod_revision, client.bookmark);
            Err(Violation::new(NAME, text))
        }
    }
}
