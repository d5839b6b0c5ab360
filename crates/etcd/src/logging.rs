//! The log: which lines, in what form, where to.

mod format;
mod levels;
mod outputs;
mod rotation;

use std::sync::Arc;

use tracing_subscriber::{Registry, filter::Targets, layer::SubscriberExt as _, reload};

use crate::config::Given;
use format::Format;
use levels::Levels;
use outputs::{Output, Outputs};
use rotation::Rotation;

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    format: Format,
    levels: Levels,
    outputs: Vec<Output>,
}

impl Settings {
    /// For what exists only since etcd logs as zap does: JSON on standard error, from this level on.
    pub(crate) fn json(level: &str) -> Result<Self, String> {
        let (format, levels) = (Format::Json, Levels::all(level)?);
        Ok(Self { format, levels, outputs: outputs::parse("default") })
    }
}

/// Reads the flags that concern the log; the error is one line.
pub(crate) fn settings(given: &mut Given) -> Result<Settings, String> {
    let zap =
        given.text("logger") == "zap" || given.is_set("log-format") && !given.is_set("logger");
    let format = match (zap, given.text("log-format")) {
        (false, _) => Format::Capnslog,
        (true, "console") => Format::Console,
        (true, _) => Format::Json,
    };
    let debug = given.switch("debug");
    let base = if debug { "debug" } else { given.text("log-level") };
    let packages = given.text("log-package-levels").to_owned();
    let (levels, unknown) = Levels::new(base, &packages)
        .map_err(|reason| format!("{}: {reason}", given.show("log-package-levels")))?;
    for package in unknown {
        let shown = given.show("log-package-levels");
        given.warn(format!("{shown}: there is no package \"{package}\""));
    }
    Ok(Settings { format, levels, outputs: outputs(given)? })
}

/// Where to log; with `--enable-log-rotation` to one file and nowhere else, as in the original.
fn outputs(given: &mut Given) -> Result<Vec<Output>, String> {
    let outputs = outputs::parse(given.text("log-outputs"));
    let flag = "log-rotation-config-json";
    if !given.switch("enable-log-rotation") {
        if given.is_set(flag) {
            let shown = given.show(flag);
            given.warn(format!("{shown} has no effect without --enable-log-rotation"));
        }
        return Ok(outputs);
    }
    let shown = given.show(flag);
    let rotation = Rotation::parse(given.text(flag)).map_err(|why| format!("{shown}: {why}"))?;
    for why in rotation.idle() {
        given.warn(format!("{shown}: {why}"));
    }
    match <[Output; 1]>::try_from(outputs) {
        Ok([Output::File(path)]) => Ok(vec![Output::Rotated(path, rotation)]),
        _ => Err(format!(
            "{}: --log-outputs requires a single file path when --log-rotate-config-json is defined",
            given.show("enable-log-rotation")
        )),
    }
}

/// Starts logging. The result changes the level of everything at run time.
pub(crate) fn start(settings: &Settings) -> Result<api::SetLogLevel, String> {
    let outputs = Outputs::open(&settings.outputs)?;
    let (filter, handle) = reload::Layer::new(settings.levels.targets());
    let lines = tracing_subscriber::fmt::layer().event_format(settings.format).with_writer(outputs);
    // Nobody else in this process sets a subscriber; a second call would change nothing.
    drop(tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines)));
    Ok(Arc::new(move |level| set(&handle, level)))
}

fn set(handle: &reload::Handle<Targets, Registry>, level: &str) -> bool {
    let Ok(levels) = Levels::all(level) else { return false };
    handle.reload(levels.targets()).is_ok()
}

#[cfg(test)]
mod tests;
