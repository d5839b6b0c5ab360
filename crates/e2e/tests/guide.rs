//! The getting-started guide, played from its first command to its last through `curl` and
//! `etcdctl`.
//!
//! The guide mixes the output of several versions; where it does, what real 2.3.8 prints is
//! expected here, and a comment at the step says what the guide has. Ports and the host's address
//! are those of this run. Indexes count from where the server begins, times go by pattern.

use std::{os::unix::fs::symlink, process::Command, thread::sleep, time::Duration};

use e2e::{
    Member, Start, binaries,
    cluster::others::Others,
    eventually, ports,
    records::matches,
    rings,
    run::{self, Output, Running},
};
use tempfile::TempDir;

#[test]
fn every_command_of_the_guide_works_in_order() {
    play(Shell::with_a_server_as_the_guide_starts_it);
}

#[test]
fn every_command_of_the_guide_works_at_a_follower() {
    play(Shell::with_a_follower);
}

fn play(start: fn() -> Shell) {
    let curl = Command::new("curl").arg("--version").output();
    if !rings::can_run("curl", curl.is_ok(), "curl is not installed: apt-get install curl") {
        return;
    }
    let shell = start();
    members(&shell);
    reading_and_writing(&shell);
    inside_a_container(&shell);
    creating_the_directory(&shell);
    watching_the_directory(&shell);
    triggering_an_executable(&shell);
    test_and_set(&shell);
    time_to_live(&shell);
}

fn members(shell: &Shell) {
    let line = format!(
        "<id>: name=etcd0 peerURLs={} clientURLs={},{} isLeader=true\n",
        shell.member.peer_url(),
        shell.first_url(),
        shell.second_url()
    );
    let lists = [shell.first_url(), shell.second_url()];
    let lists = lists.map(|url| format!("etcdctl -C {url} member list"));
    if shell.others.is_none() {
        for list in lists {
            shell.prints(&list, &line);
        }
        return;
    }
    let line = line.replace("isLeader=true", "isLeader=false");
    for list in lists {
        let listed = shell.run(&list).stdout;
        let mut lines = listed.split_inclusive('\n');
        assert!(lines.any(|listed| matches(&line, listed)), "{listed}");
        let (count, leaders) = (listed.lines().count(), listed.matches("isLeader=true").count());
        assert_eq!((count, leaders), (3, 1), "{listed}");
    }
}

fn reading_and_writing(shell: &Shell) {
    shell.prints("etcdctl set /message Hello", "Hello\n");
    // The second write tells of the first; the guide has the answer of a fresh key.
    shell.prints(
        "curl -X PUT http://127.0.0.1:2379/v2/keys/message -d value=\"Hello\"",
        "{\"action\":\"set\",\"node\":{\"key\":\"/message\",\"value\":\"Hello\",\
         \"modifiedIndex\":+2,\"createdIndex\":+2},\"prevNode\":{\"key\":\"/message\",\
         \"value\":\"Hello\",\"modifiedIndex\":+1,\"createdIndex\":+1}}\n",
    );
    shell.prints("etcdctl get /message", "Hello\n");
    shell.prints(
        "curl http://127.0.0.1:2379/v2/keys/message",
        "{\"action\":\"get\",\"node\":{\"key\":\"/message\",\"value\":\"Hello\",\
         \"modifiedIndex\":+2,\"createdIndex\":+2}}\n",
    );
    // The guide shows no output.
    shell.prints("etcdctl rm /message", "PrevNode.Value: Hello\n");
    // The guide deletes the same key once more, and shows what the first to do so gets.
    shell.prints(
        "curl -X DELETE http://127.0.0.1:2379/v2/keys/message",
        "{\"errorCode\":100,\"message\":\"Key not found\",\"cause\":\"/message\",\"index\":+3}\n",
    );
    shell.prints("etcdctl set /message Hello", "Hello\n");
    shell.prints(
        "curl -X DELETE http://127.0.0.1:2379/v2/keys/message",
        "{\"action\":\"delete\",\"node\":{\"key\":\"/message\",\"modifiedIndex\":+5,\
         \"createdIndex\":+4},\"prevNode\":{\"key\":\"/message\",\"value\":\"Hello\",\
         \"modifiedIndex\":+4,\"createdIndex\":+4}}\n",
    );
}

fn inside_a_container(shell: &Shell) {
    // The root has no key and no indexes in its listing; the guide shows `"key":"/"` (0.4).
    shell.prints(
        "curl http://127.0.0.1:2379/v2/keys/",
        "{\"action\":\"get\",\"node\":{\"dir\":true}}\n",
    );
    shell.prints("etcdctl mkdir /coreos.com", "");
    shell.prints(
        "ETCD_ENDPOINT=\"127.0.0.1:2379\"; curl http://$ETCD_ENDPOINT/v2/keys/",
        "{\"action\":\"get\",\"node\":{\"dir\":true,\"nodes\":[{\"key\":\"/coreos.com\",\
         \"dir\":true,\"modifiedIndex\":+6,\"createdIndex\":+6}]}}\n",
    );
}

fn creating_the_directory(shell: &Shell) {
    // The guide has the `Cannot print key [/foo-service: Is a directory]` of 0.4.
    shell.prints("etcdctl mkdir /foo-service", "");
    shell.prints("etcdctl set /foo-service/container1 localhost:1111", "localhost:1111\n");
    shell.prints(
        "curl -X PUT http://127.0.0.1:2379/v2/keys/foo-service/container1 \
         -d value=\"localhost:1111\"",
        "{\"action\":\"set\",\"node\":{\"key\":\"/foo-service/container1\",\
         \"value\":\"localhost:1111\",\"modifiedIndex\":+9,\"createdIndex\":+9},\
         \"prevNode\":{\"key\":\"/foo-service/container1\",\"value\":\"localhost:1111\",\
         \"modifiedIndex\":+8,\"createdIndex\":+8}}\n",
    );
    shell.prints("etcdctl ls /foo-service", "/foo-service/container1\n");
    shell.prints(
        "curl http://127.0.0.1:2379/v2/keys/foo-service",
        "{\"action\":\"get\",\"node\":{\"key\":\"/foo-service\",\"dir\":true,\
         \"nodes\":[{\"key\":\"/foo-service/container1\",\"value\":\"localhost:1111\",\
         \"modifiedIndex\":+9,\"createdIndex\":+9}],\"modifiedIndex\":+7,\"createdIndex\":+7}}\n",
    );
}

fn watching_the_directory(shell: &Shell) {
    let set = "etcdctl set /foo-service/container2 localhost:2222";
    let watch = shell.begins("etcdctl watch --recursive /foo-service");
    shell.prints(set, "localhost:2222\n");
    // 2.3.8 says what happened to which key before its value; the guide has the value alone.
    shell.ended(watch, "[set] /foo-service/container2\nlocalhost:2222\n");

    let curl = "http://127.0.0.1:2379/v2/keys/foo-service?wait=true\\&recursive=true";
    let watch = shell.begins(&format!("curl {curl}"));
    let event = "{\"action\":\"set\",\"node\":{\"key\":\"/foo-service/container2\",\
                 \"value\":\"localhost:2222\",\"modifiedIndex\":+11,\"createdIndex\":+11},\
                 \"prevNode\":{\"key\":\"/foo-service/container2\",\"value\":\"localhost:2222\",\
                 \"modifiedIndex\":+10,\"createdIndex\":+10}}\n";
    shell.prints(
        "curl -X PUT http://127.0.0.1:2379/v2/keys/foo-service/container2 \
         -d value=\"localhost:2222\"",
        event,
    );
    shell.ended(watch, event);
}

fn triggering_an_executable(shell: &Shell) {
    let mut watch = shell.begins(
        "exec etcdctl exec-watch --recursive /foo-service -- sh -c 'echo \"\\\"$ETCD_WATCH_KEY\\\" \
         key was updated to \\\"$ETCD_WATCH_VALUE\\\" value by \\\"$ETCD_WATCH_ACTION\\\" \
         action\"'",
    );
    shell.prints("etcdctl set /foo-service/container3 localhost:2222", "localhost:2222\n");
    eventually(Duration::from_secs(10), "exec-watch runs its command", || {
        (!watch.stdout().is_empty()).then_some(())
    });
    assert!(watch.is_running(), "exec-watch goes on until it is stopped");
    let output = watch.interrupt();
    let line = "\"/foo-service/container3\" key was updated to \"localhost:2222\" value by \
                \"set\" action\n";
    assert_eq!(output.stdout, line);
}

fn test_and_set(shell: &Shell) {
    // In the guide the message still says Hello; here it was deleted above.
    shell.prints("etcdctl set /message Hello", "Hello\n");
    shell.prints("etcdctl set /message \"Hi\" --swap-with-value \"Hello\"", "Hi\n");
    shell.prints(
        "curl -X PUT http://127.0.0.1:2379/v2/keys/message?prevValue=Hello -d value=Hi",
        "{\"errorCode\":101,\"message\":\"Compare failed\",\"cause\":\"[Hello != Hi]\",\
         \"index\":+14}\n",
    );
    shell.prints("etcdctl update /message Hello", "Hello\n");
    shell.prints(
        "curl -X PUT http://127.0.0.1:2379/v2/keys/message?prevValue=Hello -d value=Hi",
        "{\"action\":\"compareAndSwap\",\"node\":{\"key\":\"/message\",\"value\":\"Hi\",\
         \"modifiedIndex\":+16,\"createdIndex\":+13},\"prevNode\":{\"key\":\"/message\",\
         \"value\":\"Hello\",\"modifiedIndex\":+15,\"createdIndex\":+13}}\n",
    );
}

fn time_to_live(shell: &Shell) {
    shell.prints("etcdctl set /foo \"Expiring Soon\" --ttl 20", "Expiring Soon\n");
    shell.prints(
        "curl -X PUT http://127.0.0.1:2379/v2/keys/foo?ttl=20 -d value=bar",
        "{\"action\":\"set\",\"node\":{\"key\":\"/foo\",\"value\":\"bar\",\
         \"expiration\":\"<time>\",\"ttl\":20,\"modifiedIndex\":+18,\"createdIndex\":+18},\
         \"prevNode\":{\"key\":\"/foo\",\"value\":\"Expiring Soon\",\"expiration\":\"<time>\",\
         \"ttl\":20,\"modifiedIndex\":+17,\"createdIndex\":+17}}\n",
    );
    // The guide waits the twenty seconds out; two do as well.
    shell.prints(
        "curl -X PUT http://127.0.0.1:2379/v2/keys/foo?ttl=1 -d value=bar",
        "{\"action\":\"set\",\"node\":{\"key\":\"/foo\",\"value\":\"bar\",\
         \"expiration\":\"<time>\",\"ttl\":1,\"modifiedIndex\":+19,\"createdIndex\":+19},\
         \"prevNode\":{\"key\":\"/foo\",\"value\":\"bar\",\"expiration\":\"<time>\",\
         \"ttl\":20,\"modifiedIndex\":+18,\"createdIndex\":+18}}\n",
    );
    sleep(Duration::from_millis(2200));
    // Two spaces, as 2.3.8 prints them; the guide has one.
    let error = shell.expand("Error:  100: Key not found (/foo) [+20]\n");
    let output = shell.run("etcdctl get /foo");
    assert_eq!(output, Output { stdout: String::new(), stderr: error, exit: Some(4) });
    shell.prints(
        "curl http://127.0.0.1:2379/v2/keys/foo",
        "{\"errorCode\":100,\"message\":\"Key not found\",\"cause\":\"/foo\",\"index\":+20}\n",
    );
}

/// A reader's shell, with `etcdctl` on its path, beside the server that the guide has started.
struct Shell {
    member: Member,
    /// If the member is not alone.
    others: Option<Others>,
    second_port: u16,
    path: TempDir,
    /// The index before the first write.
    base: u64,
}

impl Shell {
    /// The flags of the guide's docker command, in its order; ports and addresses are ours.
    fn with_a_server_as_the_guide_starts_it() -> Self {
        Self::start(|_| None)
    }

    /// The same, but the initial cluster has two more members, who lead it.
    fn with_a_follower() -> Self {
        Self::start(|peer| Some(Others::start("etcd0", peer, "etcd-cluster-1")))
    }

    fn start(others: fn(&str) -> Option<Others>) -> Self {
        let (client, second, peer) = (ports::free(), ports::free(), ports::free());
        let clients = format!("http://127.0.0.1:{client},http://127.0.0.1:{second}");
        let peer = format!("http://127.0.0.1:{peer}");
        let others = others(&peer);
        let alone = format!("etcd0={peer}");
        let cluster = others.as_ref().map_or(&*alone, Others::initial_cluster);
        let flags = [
            ("-name", "etcd0"),
            ("-advertise-client-urls", &clients),
            ("-listen-client-urls", &clients.replace("127.0.0.1", "0.0.0.0")),
            ("-initial-advertise-peer-urls", &peer),
            ("-listen-peer-urls", &peer.replace("127.0.0.1", "0.0.0.0")),
            ("-initial-cluster-token", "etcd-cluster-1"),
            ("-initial-cluster", cluster),
            ("-initial-cluster-state", "new"),
        ];
        let mut start = Start::new().bare().client_port(client).peer_url(&peer);
        for (name, value) in flags {
            start = start.flag(name).flag(value);
        }
        let mut member = start.spawn();
        for complaint in Others::complaints() {
            member.allow(complaint);
        }
        member.wait_until_ready();
        let path = tempfile::tempdir().expect("/tmp can be written");
        symlink(binaries::etcdctl(), path.path().join("etcdctl")).expect("a link can be made");
        let base = member.get("/v2/keys/").index();
        Self { member, others, second_port: second, path, base }
    }

    fn first_url(&self) -> String {
        self.member.url()
    }

    fn second_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.second_port)
    }

    /// Runs a line of the guide, which must print exactly this and succeed.
    #[track_caller]
    fn prints(&self, line: &str, expected: &str) {
        let output = self.run(line);
        let expected = self.expand(expected);
        assert!(
            matches(&expected, &output.stdout)
                && output.exit == Some(0)
                && output.stderr.is_empty(),
            "$ {line}\nexpected {expected}\ngot {output:#?}"
        );
    }

    /// Runs a line of the guide.
    fn run(&self, line: &str) -> Output {
        run::run(&mut self.command(line), "")
    }

    /// Starts a line of the guide that waits for something, in "another window".
    fn begins(&self, line: &str) -> Running {
        let watchers = self.watchers();
        let running = run::start(&mut self.command(line), "");
        eventually(Duration::from_secs(10), "the watch has begun", || {
            (watchers < self.watchers()).then_some(())
        });
        running
    }

    /// The line started before has come to its end, having printed exactly this.
    #[track_caller]
    fn ended(&self, running: Running, expected: &str) {
        let output = running.wait(Duration::from_secs(10));
        assert_eq!((output.stdout, output.exit), (self.expand(expected), Some(0)));
    }

    fn watchers(&self) -> u64 {
        let statistics = self.member.get("/v2/stats/store").json();
        statistics["watchers"].as_u64().expect("the number of watchers is known")
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        // Only the addresses are changed; `-s` keeps curl's progress meter off stderr.
        let line = line.replace("127.0.0.1:2379", &self.member.address().to_string());
        command.args(["-c", &line.replace("curl ", "curl -s ")]);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.path.path().display()));
        command.env("ETCDCTL_ENDPOINT", self.first_url());
        // Real etcdctl 3.4 needs to be told; ours speaks v2 where v3 does not know a command.
        if std::env::var_os("RETCD_ETCDCTL").is_some() {
            command.env("ETCDCTL_API", "2");
        } else {
            command.env_remove("ETCDCTL_API");
        }
        command
    }

    /// Writes `+n` out as an index of this run.
    fn expand(&self, text: &str) -> String {
        let mut parts = text.split('+');
        let mut expanded = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = part[..digits].parse().expect("a + in an expectation has a number");
            expanded += &(self.base + number).to_string();
            expanded += &part[digits..];
        }
        expanded
    }
}
