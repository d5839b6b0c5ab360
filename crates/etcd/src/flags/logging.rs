//! Flags on what is logged, how and where to.

use super::{Flag, Kind, used};

pub(super) const FLAGS: &[Flag] = &[
    used("debug", Kind::Switch, "false", "Log at level debug."),
    used(
        "log-level",
        Kind::OneOf(&["debug", "info", "warn", "error", "panic", "fatal"]),
        "info",
        "Log what is of this level or above.",
    ),
    used(
        "log-package-levels",
        Kind::Text,
        "",
        "Levels of single packages, as etcdmain=CRITICAL,etcdserver=DEBUG.",
    ),
    used(
        "logger",
        Kind::OneOf(&["capnslog", "zap"]),
        "capnslog",
        "Lines as of etcd 2.3 ('capnslog') or as of 3.5 ('zap').",
    ),
    used(
        "log-format",
        Kind::OneOf(&["json", "console"]),
        "json",
        "Form of zap's lines; given alone, it chooses zap.",
    ),
    used(
        "log-outputs",
        Kind::Text,
        "default",
        "Where to log: default, stderr, stdout, systemd/journal (stderr, which journald reads), or \
         files, separated by commas.",
    ),
    used(
        "enable-log-rotation",
        Kind::Switch,
        "false",
        "Set the file of --log-outputs aside when it is full, and begin a new one.",
    ),
    used(
        "log-rotation-config-json",
        Kind::Text,
        ROTATION,
        "When it is full (maxsize, in MB), and which of those set aside are kept: so many (maxbackups), \
         for so many days (maxage); 0 keeps all.",
    ),
];

const ROTATION: &str =
    r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#;
