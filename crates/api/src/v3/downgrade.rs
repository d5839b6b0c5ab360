//! `Maintenance.Downgrade`: makes room for older builds, by lowering the cluster's version first.

use base::{
    Refused,
    version::{Minor, THIS},
};
use proto::{
    command::{Downgrade, Op},
    etcdserverpb::{DowngradeRequest, downgrade_request::DowngradeAction},
};
use server::Handle;
use state::{Response, apply::Unfit};
use tonic::Status;

use super::failure::{status, unserved};

/// Gives the version of the cluster as it was, as 3.6 does: it is lowered once all have heard.
pub(super) async fn carry_out(handle: &Handle, asked: &DowngradeRequest) -> Result<Minor, Status> {
    let done = try_it(handle, asked).await;
    if let Err(refused) = &done {
        tracing::warn!(target: "etcdserver", "reject downgrade request: {}", refused.message());
    }
    done
}

async fn try_it(handle: &Handle, asked: &DowngradeRequest) -> Result<Minor, Status> {
    let action = DowngradeAction::try_from(asked.action)
        .map_err(|_| Status::unknown("etcdserver: unknown method"))?;
    if action == DowngradeAction::Cancel {
        return cancel(handle).await;
    }
    let target = target(&asked.version);
    let target = target.ok_or_else(|| status(Refused::WrongDowngradeVersionFormat))?;
    let cluster = handle.reader().cluster_version();
    let cluster = cluster.ok_or_else(|| status(Refused::ClusterVersionUnavailable))?;
    handle.read_barrier().await.map_err(unserved)?;
    let fits = handle.reader().fits(target);
    fits.map_err(|error| Status::unknown(error.to_string()))?.map_err(|why| unfit(&why))?;
    if target < THIS.oldest {
        return Err(status(Refused::InvalidDowngradeTargetVersion));
    }
    if action == DowngradeAction::Enable {
        let command = Downgrade { target: target.in_full() };
        let done = handle.write(Op::Downgrade(command)).await.map_err(unserved)?;
        // Somebody else may have been quicker, or members have changed.
        if let Response::Downgrade(Err(why)) = done.response {
            return Err(unfit(&why));
        }
    }
    Ok(cluster)
}

/// As in 3.6, there need not be anything to cancel.
async fn cancel(handle: &Handle) -> Result<Minor, Status> {
    handle.read_barrier().await.map_err(unserved)?;
    if handle.reader().versions().downgrade.is_some() {
        handle.write(Op::Downgrade(Downgrade::default())).await.map_err(unserved)?;
    }
    let cluster = handle.reader().cluster_version();
    cluster.ok_or_else(|| status(Refused::ClusterVersionUnavailable))
}

fn unfit(why: &Unfit) -> Status {
    match why {
        Unfit::NoClusterVersion => status(Refused::ClusterVersionUnavailable),
        Unfit::Target => status(Refused::InvalidDowngradeTargetVersion),
        Unfit::InProgress => status(Refused::DowngradeInProcess),
        Unfit::Mixed(..) | Unfit::Holds { .. } => Status::failed_precondition(why.to_string()),
    }
}

/// `3.6`, or a whole semantic version, of which the rest does not matter.
fn target(text: &str) -> Option<Minor> {
    let (numbers, _) = text.split_once(['-', '+']).unwrap_or((text, ""));
    let parts: Vec<&str> = numbers.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|one| one.is_ascii_digit());
    let whole = parts.len() == 3 || (parts.len() == 2 && numbers == text);
    if whole && parts.iter().all(is_number) { Minor::parse(numbers) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_semantic_version_or_its_first_two_numbers() {
        for text in ["3.6", "3.6.0", "3.6.14", "3.6.0-rc.1", "3.6.0+build"] {
            assert_eq!(target(text), Some(Minor::new(3, 6)), "{text}");
        }
        for text in ["", "3", "3.", "v3.6", "3.6.", "3.6.0.0", "3.6-rc.1", "3.x.0", "latest"] {
            assert_eq!(target(text), None, "{text}");
        }
    }
}
