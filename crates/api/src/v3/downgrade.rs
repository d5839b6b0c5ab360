//! `Maintenance.Downgrade`: makes room for older builds, by lowering the cluster's version first.

use base::{
    code::{Grpc, Rpc},
    version::{Minor, THIS},
};
use http::{Method, Request};
use hyper::body::Incoming;
use proto::command::{Downgrade, Op};
use serde::Deserialize;
use serde_json::Value;
use server::Handle;
use state::{Response, apply::Unfit};

use super::gateway::{self, Failure};
use crate::{context::Context, reply::Reply, upload};

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Asked {
    action: Value,
    version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Validate,
    Enable,
    Cancel,
}

pub(crate) async fn answer(context: &Context, request: Request<Incoming>) -> Reply {
    if *request.method() != Method::POST {
        return gateway::failed(&Failure::new(Grpc::Unimplemented, "Method Not Allowed"));
    }
    let body = match upload::read(request).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let handle = &context.handle;
    match carry_out(handle, &body).await {
        Ok(version) => gateway::done(handle, &[("version", &version.to_string())]),
        Err(failure) => {
            tracing::warn!(target: "etcdserver", "reject downgrade request: {}", failure.message);
            gateway::failed(&failure)
        }
    }
}

/// Gives the version of the cluster as it was, as 3.6 does: it is lowered once all have heard.
async fn carry_out(handle: &Handle, body: &[u8]) -> Result<Minor, Failure> {
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|error| Failure::new(Grpc::InvalidArgument, error.to_string()))?;
    let action = action(&asked.action).ok_or(Rpc::UnknownMethod)?;
    if action == Action::Cancel {
        return cancel(handle).await;
    }
    let target = target(&asked.version).ok_or(Rpc::WrongDowngradeFormat)?;
    let cluster = handle.reader().cluster_version();
    let cluster = cluster.ok_or(Rpc::ClusterVersionUnavailable)?;
    handle.read_barrier().await?;
    let fits = handle.reader().fits(target);
    fits.map_err(|error| Failure::new(Grpc::Unknown, error.to_string()))?
        .map_err(|why| unfit(&why))?;
    if target < THIS.oldest {
        return Err(Rpc::InvalidDowngradeTarget.into());
    }
    if action == Action::Enable {
        let command = Downgrade { target: target.in_full() };
        let done = handle.write(Op::Downgrade(command)).await?;
        // Somebody else may have been quicker, or members have changed.
        if let Response::Downgrade(Err(why)) = done.response {
            return Err(unfit(&why));
        }
    }
    Ok(cluster)
}

/// As in 3.6, there need not be anything to cancel.
async fn cancel(handle: &Handle) -> Result<Minor, Failure> {
    handle.read_barrier().await?;
    if handle.reader().versions().downgrade.is_some() {
        handle.write(Op::Downgrade(Downgrade::default())).await?;
    }
    Ok(handle.reader().cluster_version().ok_or(Rpc::ClusterVersionUnavailable)?)
}

fn unfit(why: &Unfit) -> Failure {
    match why {
        Unfit::NoClusterVersion => Rpc::ClusterVersionUnavailable.into(),
        Unfit::Target => Rpc::InvalidDowngradeTarget.into(),
        Unfit::InProgress => Rpc::DowngradeInProgress.into(),
        Unfit::Mixed(..) | Unfit::Holds { .. } => {
            Failure::new(Grpc::FailedPrecondition, why.to_string())
        }
    }
}

/// By name or by number; what is left out is the first.
fn action(value: &Value) -> Option<Action> {
    match (value.as_str(), value.as_u64()) {
        (Some("VALIDATE"), _) | (_, Some(0)) => Some(Action::Validate),
        (Some("ENABLE"), _) | (_, Some(1)) => Some(Action::Enable),
        (Some("CANCEL"), _) | (_, Some(2)) => Some(Action::Cancel),
        _ => value.is_null().then_some(Action::Validate),
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

    #[test]
    fn an_action_has_a_name_and_a_number() {
        let read =
            |text: &str| serde_json::from_str::<Asked>(text).map(|asked| action(&asked.action));
        for (text, expected) in [
            ("{}", Some(Action::Validate)),
            (r#"{"action":"VALIDATE"}"#, Some(Action::Validate)),
            (r#"{"action":"ENABLE","version":"3.6","more":1}"#, Some(Action::Enable)),
            (r#"{"action":1}"#, Some(Action::Enable)),
            (r#"{"action":"CANCEL"}"#, Some(Action::Cancel)),
            (r#"{"action":7}"#, None),
            (r#"{"action":"cancel"}"#, None),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
        assert!(read("ENABLE").is_err());
    }
}
