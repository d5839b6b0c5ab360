//! `/debug/pprof/` (`--enable-pprof`): where the processor's time goes, in the form that pprof reads.
//!
//! What Go's runtime alone could tell (heap, goroutines, contention) is refused, with a word on where to
//! look instead.

mod encode;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, header};
use proto::Message as _;
use tokio::{sync::OwnedSemaphorePermit, task};

use super::process;
use crate::{
    context::Context,
    reply::{self, Reply},
    v2::form::Form,
};

/// What takes as long as its client likes, and no longer.
pub(crate) const PROFILE: &str = "/debug/pprof/profile";

/// So often a second threads that run are looked at (Go: 100).
const FREQUENCY: u32 = 100;
/// Unless asked otherwise, and at most.
const SECONDS: u64 = 30;
const SECONDS_MAX: u64 = 300;

/// What Go offers besides, and where to find something like it.
const ELSEWHERE: [(&str, &str); 7] = [
    ("heap", "memory is not sampled: see process_resident_memory_bytes of /metrics, or heaptrack"),
    ("allocs", "allocations are not sampled: use heaptrack, or perf with a uprobe"),
    ("goroutine", "there are no goroutines: eu-stack -p or gdb -p shows the threads"),
    ("threadcreate", "the threads are those of the start: see process_threads of /metrics"),
    ("block", "waits are not sampled: use perf trace, or offcputime"),
    ("mutex", "contention is not sampled: use perf lock"),
    ("trace", "there is no Go runtime to trace: see --enable-distributed-tracing"),
];

/// Answers a path below `/debug/pprof/`, of which this is the rest.
pub(crate) async fn answer(
    context: &Context,
    rest: &str,
    method: &Method,
    query: Option<&str>,
) -> Reply {
    match rest {
        "" => html(index()),
        "cmdline" => {
            // As Go gives it: with a zero between two.
            reply::text(StatusCode::OK, process::arguments().join("\0"))
        }
        "profile" => profile(context, query).await,
        // It is told that names are in the profile already.
        "symbol" if matches!(*method, Method::GET | Method::HEAD | Method::POST) => {
            reply::text(StatusCode::OK, "num_symbols: 1\n")
        }
        name => match ELSEWHERE.iter().find(|(known, _)| *known == name) {
            Some((name, advice)) => {
                let text = format!("{name}: {advice}\n");
                reply::text(StatusCode::NOT_IMPLEMENTED, text)
            }
            None => reply::text(StatusCode::NOT_FOUND, "Unknown profile\n"),
        },
    }
}

fn index() -> String {
    let mut page = String::from(
        "<html><head><title>/debug/pprof/</title></head><body>\n<h1>/debug/pprof/</h1>\n<ul>\n\
         <li><a href=\"profile?seconds=30\">profile</a>: 30 seconds of the processor's time, for \
         <code>go tool pprof</code></li>\n<li><a href=\"cmdline\">cmdline</a>: how this process was \
         started</li>\n<li><a href=\"symbol\">symbol</a>: profiles hold their names</li>\n",
    );
    for (name, advice) in ELSEWHERE {
        page.push_str(&format!("<li>{name}: not here: {advice}</li>\n"));
    }
    page.push_str("</ul>\n</body></html>\n");
    page
}

fn html(page: String) -> Reply {
    reply::whole(StatusCode::OK, HeaderValue::from_static("text/html; charset=utf-8"), page)
}

async fn profile(context: &Context, query: Option<&str>) -> Reply {
    let mut form = Form::default();
    drop(form.add(query.unwrap_or_default().as_bytes()));
    let asked = form.get("seconds").and_then(|text| str::from_utf8(text).ok()?.parse().ok());
    let seconds: u64 = asked.filter(|seconds| *seconds > 0).unwrap_or(SECONDS).min(SECONDS_MAX);
    // One at a time: there is one timer for it.
    let Ok(place) = Arc::clone(&context.profiling).try_acquire_owned() else {
        let text = "Could not enable CPU profiling: cpu profiling already in use\n";
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, text);
    };
    let began = context.handle.clock().wall();
    match take(Duration::from_secs(seconds), context, place).await {
        Ok(mut profile) => {
            profile.time_nanos = began.0;
            zipped(&profile.encode_to_vec())
        }
        Err(why) => {
            let text = format!("Could not enable CPU profiling: {why}\n");
            reply::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}

/// Ends a profile when whoever asked for it is gone.
struct Asking(Arc<AtomicBool>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Profiles on a thread that holds up nobody, which has the place for it until it has cleaned up.
async fn take(
    time: Duration,
    context: &Context,
    place: OwnedSemaphorePermit,
) -> Result<proto::profile::Profile, String> {
    let asking = Asking(Arc::default());
    let (is_gone, stop) = (Arc::clone(&asking.0), context.stop.clone());
    let taken = task::spawn_blocking(move || {
        let _place = place;
        let is_over = || is_gone.load(Relaxed) || *stop.borrow();
        let report = profiler::take(time, FREQUENCY, is_over).map_err(|error| error.to_string())?;
        Ok(encode::profile(&report, time, FREQUENCY))
    });
    let profile: Result<_, String> = taken.await.map_err(|error| error.to_string())?;
    if *context.stop.borrow() { Err("the server stops".to_owned()) } else { profile }
}

fn zipped(bytes: &[u8]) -> Reply {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let written = std::io::Write::write_all(&mut encoder, bytes).and_then(|()| encoder.finish());
    match written {
        Ok(zipped) => {
            let binary = HeaderValue::from_static("application/octet-stream");
            let mut reply = reply::whole(StatusCode::OK, binary, zipped);
            let name = HeaderValue::from_static("attachment; filename=\"profile\"");
            reply.headers_mut().insert(header::CONTENT_DISPOSITION, name);
            reply
        }
        Err(error) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
