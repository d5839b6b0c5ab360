//! What Linux knows of this process.

use std::fs;

use base::url;

/// Figures of this process; zero where the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    /// `None`: as much as there is.
    pub(crate) max_virtual_bytes: Option<u64>,
    pub(crate) open_fds: u64,
    pub(crate) max_fds: u64,
    pub(crate) threads: u64,
    /// Of all in its network namespace.
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

/// Ticks of a second in `/proc`: fixed by Linux's ABI.
const TICKS: f64 = 100.0;

pub(crate) fn read() -> Process {
    let mut process = Process::default();
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        // The name in parentheses may hold spaces.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let mut ticks = fields.split_ascii_whitespace().skip(11).map_while(|f| f.parse().ok());
        let (user, system): (u32, u32) = (ticks.next().unwrap_or(0), ticks.next().unwrap_or(0));
        process.cpu_seconds = (f64::from(user) + f64::from(system)) / TICKS;
    }
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        for line in status.lines() {
            let mut words = line.split_ascii_whitespace();
            let name = words.next().unwrap_or_default();
            let number: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            match name {
                "VmRSS:" => process.resident_bytes = number * 1024,
                "VmSize:" => process.virtual_bytes = number * 1024,
                "Threads:" => process.threads = number,
                _ => {}
            }
        }
    }
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        process.open_fds = fds.count() as u64;
    }
    if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
        let soft = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse().ok()
        };
        process.max_fds = soft("Max open files").unwrap_or(0);
        process.max_virtual_bytes = soft("Max address space");
    }
    if let Ok(netstat) = fs::read_to_string("/proc/self/net/netstat") {
        process.received_bytes = of_netstat(&netstat, "InOctets");
        process.sent_bytes = of_netstat(&netstat, "OutOctets");
    }
    process
}

/// A line of names is followed by one of numbers.
fn of_netstat(netstat: &str, name: &str) -> u64 {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, numbers) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut both = names.split(' ').zip(numbers.split(' '));
    both.find(|(one, _)| *one == name).and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

/// How this process was started. Whoever may ask for it is not told secrets.
pub fn arguments() -> Vec<String> {
    let arguments = std::env::args_os().map(|one| one.to_string_lossy().into_owned());
    without_secrets(arguments)
}

/// Flags whose value is a secret.
const SECRETS: [&str; 1] = ["discovery-password"];
/// And one whose value is a name, and behind a colon the same password.
const PAIR: &str = "discovery-user";
const HIDDEN: &str = "xxxxx";

fn without_secrets(arguments: impl Iterator<Item = String>) -> Vec<String> {
    // The flag before, whose value comes next.
    let mut before = String::new();
    arguments
        .map(|argument| {
            let flag = std::mem::take(&mut before);
            if !flag.is_empty() {
                return hidden(&flag, &argument);
            }
            let dashes = argument.len() - argument.trim_start_matches('-').len();
            let Some((dashes @ ("-" | "--"), rest)) = argument.split_at_checked(dashes) else {
                return without_passwords(&argument);
            };
            if let Some((name, value)) = rest.split_once('=') {
                return format!("{dashes}{name}={}", hidden(name, value));
            }
            if SECRETS.contains(&rest) || rest == PAIR {
                rest.clone_into(&mut before);
            }
            argument
        })
        .collect()
}

/// What is told of a flag's value.
fn hidden(name: &str, value: &str) -> String {
    if SECRETS.contains(&name) {
        return HIDDEN.to_owned();
    }
    match value.split_once(':') {
        Some((user, _)) if name == PAIR => format!("{user}:{HIDDEN}"),
        _ => without_passwords(value),
    }
}

fn without_passwords(argument: &str) -> String {
    if argument.contains("://") { url::shown(argument) } else { argument.to_owned() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn linux_tells_of_this_process() {
        let process = super::read();
        assert!(process.resident_bytes > 1 << 20);
        assert!(process.virtual_bytes >= process.resident_bytes);
        assert!(process.open_fds >= 3 && process.open_fds <= process.max_fds);
        assert!(process.threads >= 1);
    }

    #[test]
    fn the_networks_bytes_are_found_by_their_name() {
        let netstat =
            "TcpExt: InOctets\nTcpExt: 9\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 12 34\n";
        assert_eq!(super::of_netstat(netstat, "InOctets"), 12);
        assert_eq!(super::of_netstat(netstat, "OutOctets"), 34);
        assert_eq!(super::of_netstat(netstat, "Nothing"), 0);
    }

    #[test]
    fn secrets_of_the_command_line_are_hidden() {
        let check = |arguments: &[&str], expected: &[&str]| {
            let arguments = arguments.iter().map(|one| (*one).to_owned());
            assert_eq!(super::without_secrets(arguments), expected);
        };
        check(
            &["etcd", "--discovery-password=a=b", "--name", "x"],
            &["etcd", "--discovery-password=xxxxx", "--name", "x"],
        );
        check(
            &["etcd", "-discovery-password", "secret", "secret"],
            &["etcd", "-discovery-password", "xxxxx", "secret"],
        );
        check(
            &["--discovery-proxy=http://u:p@h:1/a", "--x=http://h:1,https://v:q:r/s@i/?a"],
            &["--discovery-proxy=http://u:xxxxx@h:1/a", "--x=http://h:1,https://v:xxxxx@i/?a"],
        );
        check(&["http://user@h", "-"], &["http://user@h", "-"]);
        check(
            &["--discovery-user=a:b:c=d", "-discovery-user", "a:b", "a:b", "--discovery-user=a"],
            &[
                "--discovery-user=a:xxxxx",
                "-discovery-user",
                "a:xxxxx",
                "a:b",
                "--discovery-user=a",
            ],
        );
        check(&["--discovery-user", "--name=x", "--"], &["--discovery-user", "--name=x", "--"]);
    }
}
