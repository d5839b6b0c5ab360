//! What `--version` and the log say about this program.

use base::version;

const COMMIT: &str = env!("RETCD_COMMIT");
const COMPILER: &str = env!("RETCD_COMPILER");

/// The original's lines, then our own version.
pub(crate) fn text() -> String {
    lines().map(|line| line + "\n").concat()
}

pub(crate) fn lines() -> [String; 5] {
    [
        format!("etcd Version: {}", version::SERVER),
        format!("Git SHA: {COMMIT}"),
        format!("Rust Version: {COMPILER}"),
        format!("Rust OS/Arch: {}/{}", std::env::consts::OS, architecture()),
        format!("retcd Version: {}", version::PRODUCT),
    ]
}

/// By Go's names, which scripts know.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
