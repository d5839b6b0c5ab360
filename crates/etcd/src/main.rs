//! The server's binary: flags and configuration, then a member and its APIs.

mod announce;
mod apis;
mod audit;
mod config;
mod descriptors;
mod discovery;
mod flags;
mod founding;
mod gateway;
mod grpc_proxy;
mod image;
mod listen;
mod logging;
mod proxy;
mod records;
mod role;
mod secure;
mod serve;
mod signals;
mod traces;
mod version;

use std::{
    io::{self, Write as _},
    panic,
    process::ExitCode,
};

use config::{Command, Config, Gateway, GrpcProxy, Refusal};
use serve::Ended;

/// The system's own keeps what the flusher frees: a member then takes half as much again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match image::flags(std::env::args_os().skip(1).collect()) {
        Ok(arguments) => arguments,
        Err(reason) => {
            complain(&reason);
            return ExitCode::FAILURE;
        }
    };
    let command = config::environment(std::env::vars_os())
        .and_then(|environment| config::gather(&arguments, &environment));
    match command {
        Ok(Command::Help) => print(&flags::help()),
        Ok(Command::Version) => print(&version::text()),
        Ok(Command::Start(config)) => start(*config),
        Ok(Command::Gateway(gateway)) => start_gateway(&gateway),
        Ok(Command::GatewayHelp) => print(&flags::gateway::help()),
        Ok(Command::GrpcProxy(proxy)) => start_grpc_proxy(&proxy),
        Ok(Command::GrpcProxyHelp) => print(&flags::grpc_proxy::help()),
        Err(refusal) => {
            complain(&refusal.to_string());
            match refusal {
                Refusal::Usage(_) => ExitCode::from(2),
                Refusal::Stray(_) | Refusal::Conflict(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// What should never happen is said in one line, as all else. `RUST_BACKTRACE` shows the way there.
fn tell_of_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let what = info.payload_as_str().unwrap_or("a panic");
        if let Some(meaning) = base::panics::meaning() {
            tracing::error!(target: "etcdmain", "{meaning} ({what})");
            exit_in_panic();
        }
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            target: "etcdmain",
            "the member cannot go on: {what} ({place}): its data is damaged, or this is a bug. If it \
             happens again after a start, restore this member from a backup"
        );
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            default(info);
        }
    }));
}

/// There is no way back to `main` from here.
#[allow(clippy::exit, clippy::disallowed_methods, reason = "else the process is aborted")]
fn exit_in_panic() {
    std::process::exit(1)
}

fn start(config: Config) -> ExitCode {
    // The allocator asks for huge pages, most of which would never be filled. Where this cannot be
    // had, the member only takes more memory.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    let set_log_level = match logging::start(&config.logging) {
        Ok(set_log_level) => set_log_level,
        Err(reason) => {
            complain(&reason);
            return ExitCode::FAILURE;
        }
    };
    tell_of_panics();
    match serve::run(config, set_log_level) {
        Ok(Ended::Signal(signal)) => signals::end_by(signal),
        // Said by whoever failed.
        // As the original: there is nothing to restart for.
        Ok(Ended::Removed) => ExitCode::SUCCESS,
        Ok(Ended::Failed) => ExitCode::FAILURE,
        Err(reason) => {
            tracing::error!(target: "etcdmain", "{reason}");
            ExitCode::FAILURE
        }
    }
}

fn start_gateway(gateway: &Gateway) -> ExitCode {
    match gateway::run(gateway) {
        Ok(signal) => signals::end_by(signal),
        Err(reason) => {
            complain(&reason);
            ExitCode::FAILURE
        }
    }
}

fn start_grpc_proxy(proxy: &GrpcProxy) -> ExitCode {
    match grpc_proxy::run(proxy) {
        Ok(signal) => signals::end_by(signal),
        Err(reason) => {
            complain(&reason);
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// For what goes wrong before there is a log.
fn complain(reason: &str) {
    // With standard error closed there is nobody to tell.
    drop(writeln!(io::stderr().lock(), "etcd: {reason}"));
}

#[cfg(test)]
mod tests {
    use std::{fs, hint};

    fn resident() -> usize {
        let told = fs::read_to_string("/proc/self/statm").expect("Linux tells it");
        let pages = told.split(' ').nth(1).expect("the second is what is resident");
        pages.parse::<usize>().expect("a number") * rustix::param::page_size()
    }

    /// Answers of clients that went away must not stay beside those of the next.
    #[test]
    fn what_is_large_goes_back_to_the_system_at_once() {
        const LARGE: usize = 32 << 20;
        let before = resident();
        let large: Vec<Vec<u8>> = (0..4).map(|number| vec![number + 1; LARGE]).collect();
        assert!(resident() > before + 3 * LARGE, "{} of {before}", resident());
        drop(hint::black_box(large));
        assert!(resident() < before + LARGE, "{} of {before}", resident());
    }
}
